"""The same durable jobs in the library and in systems that people would pick instead."""
