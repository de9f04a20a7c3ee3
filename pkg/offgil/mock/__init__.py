"""An LLM server (OpenAI's and Anthropic's APIs) without a model, for tests, the demo and benchmarks.

Run it with ``offgil mock-server``; it needs the extra ``cli``.
"""
