"""An OpenAI-compatible LLM server without a model, for tests, the demo and benchmarks.

Run it with ``offgil mock-server``; it needs the extra ``cli``.
"""
