"""bench/rounds.py: what a comparison still has to measure, and what its figures mean."""

import json
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "bench"))
import rounds  # noqa: E402
from rounds import Goal, Ref, Row  # noqa: E402

OURS, FAST, NEAR, SLOW, OTHER = (Ref(name, "speed") for name in ("ours", "fast", "near", "slow", "other"))
ROW = Row("row", "a row", OURS, (FAST, NEAR, SLOW), ())


class Rounds(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "a" / "rounds.json"

    def kept(self, speeds=None, build="one"):
        """speeds: {run: [figure of each round]}; None: the run failed."""
        kept = rounds.Rounds(self.path, build)
        for run, figures in (speeds or {}).items():
            for number, figure in enumerate(figures):
                result = {"failed": "it crashed"} if figure is None else {"figures": {"speed": figure}, "seconds": 2.0 + number}
                kept.add(run, number, result)
        return kept


class Kept(Rounds):
    def test_goes_on_where_it_stopped(self):
        self.kept({"ours": [10], "fast": [5]})
        again = self.kept()
        self.assertEqual(rounds.wanted(again, [ROW], 0), ["near", "slow"])
        self.assertEqual((again.seconds("fast"), again.seconds("slow")), (2.0, None))

    def test_another_build_begins_anew(self):
        self.kept({"ours": [10], "fast": [5]})
        other = self.kept(build="two")
        self.assertEqual(rounds.wanted(other, [ROW], 0), ["ours", "fast", "near", "slow"])
        other.add("ours", 0, {"figures": {"speed": 1}, "seconds": 1})
        self.assertEqual(json.loads(self.path.read_text())["build"], "two")
        self.assertEqual(rounds.wanted(self.kept(), [ROW], 0), ["ours", "fast", "near", "slow"])

    def test_what_peers_did_may_stay(self):
        self.kept({"Cabinet, a": [10], "fast": [8]})
        other = rounds.Rounds(self.path, "two", keeps_peers=True)
        self.assertEqual((other.has("Cabinet, a", 0), other.has("fast", 0)), (False, True))
        self.assertFalse(rounds.Rounds(self.path, "two").has("fast", 0))
        self.assertTrue(rounds.Rounds(self.path, "one").has("Cabinet, a", 0))

    def test_a_failed_run_is_not_tried_again(self):
        kept = self.kept({"ours": [10], "fast": [None], "near": [4]})
        self.assertEqual(rounds.wanted(kept, [ROW], 0), ["slow"])
        self.assertEqual((kept.failure("fast"), kept.failure("near")), ("it crashed", None))
        self.assertNotIn("fast", rounds.wanted(kept, [ROW], 1))
        self.assertEqual(rounds.wanted(self.kept(), [ROW], 0), ["fast", "slow"])  # but when the script starts again


class Wanted(Rounds):
    def test_the_slow_are_left_out_and_turns_alternate(self):
        kept = self.kept({"ours": [10], "fast": [8], "near": [6.1], "slow": [5.9]})
        self.assertEqual(rounds.wanted(kept, [ROW], 1), ["near", "fast", "ours"])
        self.assertEqual(rounds.wanted(kept, [ROW], 2), ["ours", "fast", "near"])

    def test_the_best_of_a_goal_stays(self):
        kept = self.kept({"ours": [10], "fast": [8], "near": [7], "slow": [1]})
        row = ROW._replace(goals=(Goal("times", 2, "the slow one", (SLOW,)),))
        self.assertEqual(rounds.wanted(kept, [row], 2), ["ours", "slow", "fast", "near"])

    def test_of_times_the_least_is_the_best(self):
        kept = self.kept({"ours": [10], "fast": [5.9], "near": [7.8], "slow": [8]})
        row = ROW._replace(is_time=True)
        self.assertEqual(rounds.wanted(kept, [row], 2), ["ours", "fast", "near"])

    def test_rows_share_runs(self):
        other = ROW._replace(ours=OTHER, peers=(FAST,))
        self.assertEqual(rounds.wanted(self.kept(), [ROW, other], 0), ["ours", "fast", "near", "slow", "other"])

    def test_our_own_run_that_a_goal_needs_is_measured_each_round(self):
        kept = self.kept({"ours": [10], "fast": [8], "near": [1], "slow": [1], "other": [2]})
        row = ROW._replace(goals=(Goal("times", 2, "our other", (OTHER,)),))
        self.assertEqual(rounds.wanted(kept, [row], 2), ["ours", "other", "fast"])


class Judge(Rounds):
    def judged(self, kept, goal, row=ROW):
        found = rounds.judge(kept, row, goal)
        return found["median"], min(found["values"]), max(found["values"]), found["is_reached"]

    def test_ratios_are_of_the_best_of_each_round(self):
        # 12/8, 9/9 and 10/4: not 10/8, the ratio of the medians.
        kept = self.kept({"ours": [12, 9, 10], "fast": [8, 3, 4], "near": [6, 9, 2]})
        goal = Goal("times", 1.5, "best", ROW.peers)
        self.assertEqual(rounds.times(kept, ROW, ROW.peers), [1.5, 1.0, 2.5])
        self.assertEqual(self.judged(kept, goal), (1.5, 1.0, 2.5, True))
        self.assertEqual(self.judged(kept, goal._replace(value=1.51))[3], False)

    def test_times_are_the_other_way_round(self):
        kept = self.kept({"ours": [10], "fast": [20], "near": [30]})
        self.assertEqual(rounds.times(kept, ROW._replace(is_time=True), ROW.peers), [2.0])

    def test_a_step(self):
        kept = self.kept({"ours": [10, 10, 10], "other": [15, 14, 20]})
        goal = Goal("step", 1.5, "its step elsewhere", (OTHER,))
        self.assertEqual(self.judged(kept, goal), (1.5, 1.4, 2.0, True))
        self.assertEqual(self.judged(kept, goal._replace(value=1.49))[3], False)

    def test_the_limit(self):
        kept = self.kept()
        for number, share in enumerate((0.5, 0.7, 0.6)):
            kept.add("ours", number, {"figures": {"speed": 1, "speed of limit": share}, "seconds": 1})
        self.assertEqual(self.judged(kept, Goal("of limit", 0.6)), (0.6, 0.5, 0.7, True))
        self.assertEqual(self.judged(kept, Goal("of limit", 0.61))[3], False)

    def test_what_was_not_measured_is_not_judged(self):
        goal = Goal("times", 1, "best", ROW.peers)
        self.assertIsNone(rounds.judge(self.kept(), ROW, goal))
        self.assertIsNone(rounds.judge(self.kept({"ours": [1], "fast": [None]}), ROW, goal))
        self.assertIsNone(rounds.best_peer(self.kept({"ours": [1]}), ROW))

    def test_best_peer_by_the_median(self):
        kept = self.kept({"ours": [1], "fast": [9, 2, 3], "near": [4, 5, 4]})
        self.assertEqual(rounds.best_peer(kept, ROW), (NEAR, [4, 5, 4]))
        self.assertEqual(rounds.best_peer(kept, ROW._replace(is_time=True)), (FAST, [9, 2, 3]))


if __name__ == "__main__":
    unittest.main()
