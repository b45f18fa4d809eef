"""The OpenAPI document of the REST contract, made of the descriptors and their comments."""
