"""The provider type `local`: SmolLM2-135M on llama.cpp in a child process, a keyless demonstration model."""
