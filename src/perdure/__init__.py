"""Durable jobs written as pure programs."""
