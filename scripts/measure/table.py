"""Prints what was measured: table.py FILE, whose lines are those of runs.emit."""
import statistics
import sys

from runs import BESIDE, OURS


def main():
    sections, loads = {}, []
    with open(sys.argv[1]) as lines:
        for line in lines:
            section, role, who, unit, value, wanted, load = line.rstrip("\n").split("\t")
            rows = sections.setdefault(section, {})
            rows.setdefault((role, who, unit), (wanted, []))[1].append(float(value))
            loads.append(float(load))
    width = max([40] + [len(who) for rows in sections.values() for _, who, _ in rows])
    print(f"  {'':{width}} runs       min    median       max       by best  by median  wanted")
    for section, rows in sections.items():
        print(section)
        of_ours = [values for (role, _, _), (_, values) in rows.items() if role == OURS]
        for (role, who, unit), (wanted, values) in rows.items():
            least, median, most = min(values), statistics.median(values), max(values)
            ratios = ""
            if role == BESIDE and of_ours:
                ratios = f"{least / min(of_ours[0]):7.2f} x {median / statistics.median(of_ours[0]):8.2f} x"
            line = f"  {who:{width}} {len(values):4} {least:9.3f} {median:9.3f} {most:9.3f} {unit:4} {ratios:19}  {wanted}"
            print(line.rstrip())
    if loads:
        print("\nN x: medusafs, the first line, is so many times as fast as this one.\n"
              f"Load of the machine when a run began: {min(loads):.1f} to {max(loads):.1f}.")


main()
