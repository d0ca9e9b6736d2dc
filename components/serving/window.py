"""How many requests one server is to have at once: found out by what it answers (issue 17).

Servers that decode in batches answer each request more slowly the more they have, and yet more in all, until their
places are full. So it is throughput that is looked at, not latency: as in TCP's slow start and BBR (RFC 5681, RFC 9438,
draft-cardwell-iccrg-bbr) the number doubles while that brings more, halves while that costs nothing, and rests then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

START = 16  # of a server that is not known
MOST = 1024  # of any, where the user says nothing
GAIN, LOSS = 0.04, 0.03  # of the throughput: what more requests must add, what fewer may lose
NEARLY = 0.9  # of what it would be if each request were answered as fast as before: then there is far to go
LOOKS = 2  # rounds in which more requests have brought nothing before it is believed
CHANGE = 0.25  # of the throughput with the same number
SAMPLES = 8  # answers that tell a throughput, at least
BUSY = 0.9  # of the limit that was in flight, else there was less to ask
REST, LONGEST_REST = 8, 64  # rounds of answers before another number is tried, doubled each time that none was better


class Window:
    """At most `limit` requests at once, between `least` and `most`; `open` are under way.

    A round is measured by tokens over time, from a change of the limit on until each place has had an answer; after a
    lower limit once the surplus is gone, and each place has had one before. A round in which there was less to ask than
    the limit says nothing.
    """

    def __init__(
        self, start: int = START, least: int = 1, most: int = MOST, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.least, self.most, self.now = min(least, most), most, now
        self.limit, self.open, self._area, self._at, self._epoch = max(self.least, min(start, most)), 0, 0.0, now(), 0
        self._best, self._settled, self._trial, self._rose, self._shift = 0.0, 0, 0, False, 0.0
        self._rest, self._rounds, self._looks, self._too_few = REST, 0, 0, 0
        self._refused_at, self._fallback = math.inf, 1
        self._began, self._answers, self._tokens, self._skipped = self._at, 0, 0, 0

    def send(self) -> int:
        """Note that a request goes out now; returns the number of the change that it comes after."""
        self._pass_time()
        if not self.open and not self._answers:  # nobody had asked
            self._began, self._area = self._at, 0.0
        self.open += 1
        return self._epoch

    def leave(self, tokens: int | None = None) -> None:
        """Note that one has ended, with an answer of so many `tokens` (0: not known), or without one (None)."""
        self._pass_time()
        self.open -= 1
        if tokens is None or self.open >= self.limit:  # of a limit that was higher
            return
        if self._skipped > 0:
            self._skipped -= 1
            if self._skipped == 0:
                self._begin(skipped=0)
            return
        self._answers, self._tokens = self._answers + 1, self._tokens + max(1, tokens)
        seconds = self._at - self._began
        if self._answers >= self._needed and seconds > 0:
            busy, throughput = self._area / seconds, self._tokens / seconds
            self._begin(skipped=0)
            if busy >= BUSY * self.limit:
                self._judge(throughput)

    def refuse(self, epoch: int) -> None:
        """Note that the server has no place for one that was sent after that change: it holds what is still open, or
        half of the limit."""
        self.leave()
        if epoch == self._epoch:  # once for all that were sent together
            self._refused_at, self._fallback = min(self.limit, self.open + 1), max(1, self.limit // 2)
        limit = max(self._fallback, min(self.limit, self.open))
        self._settled = self._trial = 0
        self._change(limit)

    @property
    def _needed(self) -> int:
        """Answers of a round: one of each place, or several where these are few."""
        return math.ceil(SAMPLES / self.limit) * self.limit

    def _pass_time(self) -> None:
        now = self.now()
        self._area, self._at = self._area + self.open * (now - self._at), now

    def _begin(self, skipped: int) -> None:
        """Measure from now on, after so many more answers."""
        self._began, self._area, self._answers, self._tokens, self._skipped = self._at, 0.0, 0, 0, skipped

    def _change(self, limit: int) -> None:
        """Another limit: what is measured from now on begins anew."""
        self._begin(skipped=limit if limit < self.limit else 0)
        self.limit, self._epoch = limit, self._epoch + 1

    def _judge(self, throughput: float) -> None:
        """What to do after a round with this limit that gave so many tokens a second."""
        best, noise = self._best, 1 / math.sqrt(self._needed)
        much = 1 + max(CHANGE, 2 * noise)
        if not self._settled:  # the first round, or the first after a refusal
            self._settle(throughput)
            self._rose = False
            self._try_more(2) if 2 * self.limit < self._refused_at else self._stay()
        elif self._trial > 0 and throughput >= best * (1 + max(GAIN, 0.6 * noise)):
            nearly_all = throughput / best >= NEARLY * self.limit / self._settled
            self._settle(throughput)
            self._rose, self._rest = True, REST
            self._try_more(4 if nearly_all else 2)
        elif self._trial > 0 and self._looks < LOOKS and throughput > best / much:
            self._looks += 1
        elif self._trial < 0 and throughput >= best * (1 - max(LOSS, 0.3 * noise)):
            self._settle(max(best, throughput))
            self._rest = REST
            self._try_fewer()
        elif self._trial > 0 and not self._rose:
            self._try_fewer()
        elif self._trial:
            self._too_few = self.limit if self._trial < 0 else self._settled // 2
            self._stay()
        else:
            self._watch(throughput, much)

    def _watch(self, throughput: float, much: float) -> None:
        """While it rests: look for the best number again now and then, or when there are so `much` times more tokens a
        second, or fewer: the server, or the questions, are others now."""
        self._rounds += 1
        if not self._best / much < throughput < self._best * much:  # it may have changed within this round: once more
            self._shift, self._best, self._too_few, self._rest = throughput - self._best, throughput, 0, REST
        elif self._shift or self._rounds >= self._rest:
            slower, self._shift, self._rest = self._shift < 0, 0.0, min(2 * self._rest, LONGEST_REST)
            self._settle(throughput)
            self._rose = False
            self._try_fewer() if slower else self._try_more(2)
        else:
            self._best += (throughput - self._best) / 4

    def _settle(self, throughput: float) -> None:
        """This limit is the one to go back to."""
        self._settled, self._best = self.limit, throughput
        if self.limit >= self._refused_at:
            self._refused_at = math.inf

    def _try_more(self, times: int) -> None:
        """So many times as many; where twice was refused, an eighth more."""
        settled = self._settled
        more = times * settled if 2 * settled < self._refused_at else settled + max(1, settled // 8)
        self._trial, self._looks = 1, 1
        if settled < self.most:
            self._change(min(more, self.most))
        elif self._rose:
            self._stay()
        else:
            self._try_fewer()

    def _try_fewer(self) -> None:
        self._trial = -1
        fewer = max(self.least, self._settled // 2)
        if self._too_few < fewer < self._settled:
            self._change(fewer)
        else:
            self._stay()

    def _stay(self) -> None:
        """With what was found, until something changes."""
        self._trial = self._rounds = 0
        if self.limit != self._settled:
            self._change(self._settled)


def window_of(places: int, most: int, now: Callable[[], float] = time.monotonic) -> Window:
    """For a server that works on so many requests at once, 0: it does not say; at most `most` in flight.

    One that says gets a quarter more, so that one waits whenever a place is free, and nothing is tried out.
    """
    if not places:
        return Window(START, 1, most, now)
    filled = min(places + places // 4, most)
    return Window(filled, filled, filled, now)
