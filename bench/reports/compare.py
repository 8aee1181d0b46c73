# SPDX-License-Identifier: Apache-2.0
"""What changed between two runs by more than noise."""

from dataclasses import dataclass

from .results import CEILINGS, Measurement, Source, Spread, Unusable, measurements
from .tables import Table, ratio_name, ratio_text, series_names, setting_text, time_name, time_text

SLOWER = "slower"
AGAINST = {"speed_over_dense": "dense", "run_of_256_over_dense": "dense", "fraction_of_read": "read",
           "fraction_of_copy": "copy", "copy_speed": "copy"}


@dataclass(frozen=True)
class Change:
    """Of one ratio or time of one measurement."""

    found: Measurement
    what: str
    old: str
    new: str
    percent: float
    verdict: str


def beyond_noise(old: Spread, new: Spread, least: float) -> bool:
    """A median of zero is a clock that ticks too seldom, and says nothing."""
    apart = new.low > old.high or new.high < old.low
    return apart and old.median > 0 and abs(new.median / old.median - 1) >= least


def moved(old: Measurement, new: Measurement, name: str | None, least: float) -> int:
    """1 for a time that rose beyond noise, -1 for one that fell, 0 for neither."""
    if name not in old.times or name not in new.times or not beyond_noise(old.times[name], new.times[name], least):
        return 0
    return 1 if new.times[name].median > old.times[name].median else -1


def growth(old: Measurement, new: Measurement, name: str) -> float:
    return new.times[name].median / old.times[name].median


def machine_slowed(old: Measurement, new: Measurement, name: str, least: float) -> bool:
    """A ceiling measured in turns with this time rose as much: the machine did it."""
    return any(moved(old, new, ceiling, least) > 0
               and growth(old, new, name) <= growth(old, new, ceiling) * (1 + least) for ceiling in CEILINGS)


def time_verdict(old: Measurement, new: Measurement, name: str, least: float) -> str:
    if name in CEILINGS:
        return "the machine is slower" if moved(old, new, name, least) > 0 else "the machine is faster"
    if moved(old, new, name, least) < 0:
        return "faster"
    return "as much as the machine" if machine_slowed(old, new, name, least) else SLOWER


def ratio_verdict(old: Measurement, new: Measurement, name: str, least: float) -> str:
    """A ratio also falls when what it divides by became faster, which is no loss."""
    if new.ratios[name].median > old.ratios[name].median:
        return "better"
    own, against = moved(old, new, old.own_time, least), moved(old, new, AGAINST.get(name), least)
    return "what it is measured against is faster" if against < 0 and own <= 0 else SLOWER


def changes_of(old: Measurement, new: Measurement, least: float) -> list[Change]:
    changes = []
    for kind, text, label, verdict in (("ratios", ratio_text, ratio_name, ratio_verdict),
                                       ("times", lambda _, spread: time_text(spread), time_name, time_verdict)):
        before, after = getattr(old, kind), getattr(new, kind)
        for name in (name for name in before if name in after):
            if beyond_noise(before[name], after[name], least):
                percent = 100 * (after[name].median / before[name].median - 1)
                changes.append(Change(new, label(name), text(name, before[name]), text(name, after[name]), percent,
                                      verdict(old, new, name, least)))
    return changes


def pairs(old: list[Source], new: list[Source]) -> list[tuple[Measurement, Measurement]]:
    before = {each.key: each for each in measurements(old)}
    found = [(before[each.key], each) for each in measurements(new) if each.key in before]
    if not found:
        raise Unusable(new[0].name if new else "the new file", "what it shares with the old file", 0,
                       "both must hold the same machine, device, op, shape, kept, type and variant at least once")
    for one, other in found:
        if one.dimensions != other.dimensions:
            raise Unusable(new[0].name, f"shape {other.shape}", other.dimensions,
                           f"it is {one.dimensions} in the old file, and one name must mean one shape")
    return found


def changes(old: list[Source], new: list[Source], least: float) -> list[Change]:
    return [change for one, other in pairs(old, new) for change in changes_of(one, other, least)]


def table(found: list[Change], least: float) -> Table:
    names = series_names([change.found for change in found])
    rows = [[change.verdict, f"{change.percent:+.1f} %", change.what, change.old, change.new, change.found.op,
             setting_text(change.found), names[change.found.series]]
            for change in sorted(found, key=lambda change: (change.verdict != SLOWER, -abs(change.percent)))]
    return Table("Changes", f"Medians that differ by {100 * least:g} % or more, and whose quartiles do not overlap.",
                 ["verdict", "change", "what", "old", "new", "operation", "setting", "device"], rows)


def only_in_one(old: list[Source], new: list[Source]) -> str:
    before, after = ({each.key for each in measurements(sources)} for sources in (old, new))
    return (f"{len(before & after)} measurements in both files, {len(before - after)} only in the old one, "
            f"{len(after - before)} only in the new one.")
