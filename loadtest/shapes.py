"""Load shapes for Locust: users that come in steps, or all at once. Beside any file of users:

locust -f loadtest/locustfile.py,loadtest/shapes.py --headless --shape step --host 127.0.0.1:50051
"""

from __future__ import annotations

import logging
import math
import sys

from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtest.locust_setup import add_option
from loadtest.user_counts import SHAPES, STEP

logger = logging.getLogger(__name__)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser) -> None:
    """Which shape, and its sizes."""
    parser.add_argument(
        "--shape",
        choices=tuple(SHAPES),
        default=STEP,
        env_var="WIGEUP_SHAPE",
        include_in_web_ui=False,
        help="step: as many users more every time; spike: few users, then many at once, then few (default step)",
    )
    add_option(parser, "--shape-users", "WIGEUP_SHAPE_USERS", 4, "users of the first step, or before the spike (4)")
    add_option(parser, "--shape-peak", "WIGEUP_SHAPE_PEAK", 20, "users of the last step, or of the spike (20)")
    add_option(parser, "--shape-seconds", "WIGEUP_SHAPE_SECONDS", 60.0, "length of the whole run (60)")


class ChosenShape(LoadTestShape):
    """The shape of `--shape`; `-u`, `-r` and `-t` have no say beside it."""

    def tick(self) -> tuple[int, float] | None:
        """How many users there are now, all of whom come or go within the second."""
        options = self.runner.environment.parsed_options if self.runner else None
        if options is None:
            return None
        at_s: float = self.get_run_time()  # type: ignore[no-untyped-call]
        users = SHAPES[options.shape](at_s, options.shape_users, options.shape_peak, options.shape_seconds)
        return None if users is None else (users, float(options.shape_peak))


def check(environment: Environment, **_: object) -> None:
    """Ends the process with code 2 for sizes that are no shape."""
    options = environment.parsed_options
    if options is None or isinstance(environment.runner, WorkerRunner):  # the master has the say
        return
    users, peak, seconds = options.shape_users, options.shape_peak, options.shape_seconds
    if not (1 <= users <= peak and 0 < seconds < math.inf):
        rule = "there must be 1 user or more, no more than at the peak, and some time"
        logger.error("--shape-users %d --shape-peak %d --shape-seconds %g: %s", users, peak, seconds, rule)
        sys.exit(2)


events.init.add_listener(check)  # type: ignore[no-untyped-call]
