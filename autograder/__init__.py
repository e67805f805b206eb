"""The instructor's tool: build labs from one source, grade a class, return feedback."""
