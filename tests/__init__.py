"""The tests: `unit` needs nothing but Python, `functional` real processes and a RabbitMQ."""
