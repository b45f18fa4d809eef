"""ModelService serves models: any face of the API over any upstream dialect."""
