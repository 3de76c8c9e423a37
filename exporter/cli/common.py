"""What commands share: the level of the log, variables, names of tenants, and one thing done for many."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, TypeVar

from exporter import log
from exporter.config.errors import nearest, sentence
from exporter.config.settings import PREFIX
from exporter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.config import Config, Tenant

_MANY = 10

Item = TypeVar("Item")
Result = TypeVar("Result")


def set_up_log(config: Config, level: str) -> None:
    """Log from `level` on, for commands whose results people read; as `--log.level` or its variable says, if given."""
    log.set_up(config.root.log.level if "level" in config.root.log.model_fields_set else level, config.root.log.format)


def variables_of(environ: Mapping[str, str], *blocks: str) -> dict[str, str]:
    """Return the variables that set these blocks, or keys of them."""
    names = tuple(f"{PREFIX}{block.upper()}" for block in blocks)
    return {name: value for name, value in environ.items() if name.partition("__")[0] in names}


def chosen_tenants(config: Config, names: Sequence[str], flag: str) -> list[Tenant]:
    """Return the enabled tenants of these names, all of them if there are none.

    Raises:
        ConfigError: a name is unknown; the message says that `flag` gave it.
    """
    known = {tenant.name: tenant for tenant in config.tenants}
    errors = []
    for name in names:
        if name not in known:
            near = nearest(name, known)
            fix = f"did you mean {near}?" if near else "check the name, and --config.file"
            errors.append(sentence(flag, f"there is no enabled tenant {name!r}", fix))
    if errors:
        raise ConfigError(tuple(errors))
    return [tenant for name, tenant in known.items() if not names or name in names]


def for_each(
    items: Sequence[Item],
    do: Callable[[Item], Result],
    *,
    concurrency: int,
    title: str,
    done: Callable[[Result], None] = lambda _result: None,
) -> list[Result]:
    """Return `do` of every item, in the items' order; show progress on stderr if that is a terminal and there are many.

    `do` is called in `concurrency` threads, `done` in this one, with each result as it comes.
    """
    shown = len(items) > _MANY and sys.stderr.isatty()
    pool = ThreadPoolExecutor(concurrency)
    try:
        futures = [pool.submit(do, item) for item in items]
        for count, future in enumerate(as_completed(futures), start=1):
            result = future.result()
            if shown:
                sys.stderr.write("\r\x1b[K")  # gives its line to what `done` prints
            done(result)
            if shown:
                sys.stderr.write(f"{title}: {count} of {len(items)}")
                sys.stderr.flush()
        return [future.result() for future in futures]
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
        # Ctrl-C ends the command at once: nothing waits for what is being done.
        pool.shutdown(wait=False, cancel_futures=True)
