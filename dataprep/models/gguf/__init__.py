"""Export a student as a GGUF file, which llama.cpp, Ollama and programs built on them run."""
