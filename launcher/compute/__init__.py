"""The compute service: a manager that measures its host and answers for it."""
