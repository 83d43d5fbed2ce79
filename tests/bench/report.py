from tests.bench.record import Results


def write(results: Results) -> None: ...
