"""Where each promise about reliability is proven: R1 to R15, and the tests that would fail without it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
PROOFS = {
    "R1 clients that drop are billed exactly": {
        "reliability/test_disconnects.py": [
            "test_whoever_leaves_whenever_in_whatever_dialect_pays_what_the_model_wrote",
            "test_who_leaves_while_a_turn_with_tools_is_counted_pays_for_it",
        ],
        "gateway/test_bills.py": ["test_clients_that_drop_while_a_whole_answer_is_made_are_billed_too"],
    },
    "R2 a killed server loses at most a checkpoint": {
        "reliability/test_crashes.py": [
            "test_a_killed_server_loses_at_most_one_checkpoint_and_no_hold",
            "test_what_nobody_waits_for_is_answered_and_paid_once_though_its_server_is_killed",
        ],
        "money/test_recovery.py": ["test_two_that_recover_and_one_that_settles_make_one_receipt"],
        "money/test_outages.py": ["test_a_settle_that_the_database_does_not_take_is_tried_until_it_does"],
    },
    "R3 upstreams that fail": {
        "reliability/test_upstreams.py": [
            "test_a_server_that_dies_before_its_first_token_is_an_error_of_the_dialect_and_free",
            "test_an_answer_that_breaks_off_is_an_error_of_the_dialect_and_a_partial_bill",
            "test_missing_usage_is_counted_and_a_missing_done_is_no_failure",
            "test_another_server_answers_only_where_nothing_was_said_yet",
        ],
    },
    "R4 a race for the last money": {
        "gateway/test_bills.py": ["test_two_hundred_at_once_with_money_for_ten_are_ten"],
        "money/test_billing.py": ["test_two_servers_on_one_database_admit_exactly_what_the_wallet_covers"],
    },
    "R5 what comes twice counts once": {
        "money/test_billing.py": ["test_settling_again_gives_the_same_receipt_and_moves_nothing"],
        "money/test_wallet.py": [
            "test_a_webhook_that_comes_twice_pays_once",
            "test_a_code_is_redeemed_once_and_its_text_is_not_stored",
        ],
        "gateway/test_bills.py": [
            "test_a_request_sent_twice_under_one_idempotency_key_is_refused_while_and_after_it_runs"
        ],
    },
    "R6 a thousand settles beside a long reader": {
        "money/test_billing.py": ["test_a_thousand_settles_at_once_beside_a_long_reader"],
    },
    "R7 one budget for every path": {
        "reliability/test_budgets.py": [
            "test_a_budget_blocks_every_path_at_the_same_point",
            "test_a_budget_blocks_a_batch_at_the_same_point",
            "test_a_plan_blocks_every_path_at_the_same_point_and_never_reaches_the_wallet",
        ],
        "money/test_budgets.py": ["test_a_budget_stops_every_kind_of_request_at_the_same_point"],
    },
    "R8 a hundred thousand usages are exact": {
        "money/test_exactness.py": [
            "test_a_hundred_thousand_usages_cost_what_exact_fractions_say",
            "test_thousands_of_usages_through_the_database_are_exact",
            "test_a_long_walk_of_random_events_keeps_the_laws_on_both_databases",
        ],
    },
    "R9 long work leaks nothing": {
        "reliability/test_crashes.py": [
            "test_long_work_leaks_neither_memory_nor_files_nor_threads_nor_tasks"
        ],
    },
    "R10 slow readers and large pieces": {
        "reliability/test_sizes.py": [
            "test_a_client_that_does_not_read_fills_nobodys_memory_and_pays_what_was_written",
            "test_a_line_of_five_megabytes_arrives_byte_for_byte_in_bounded_memory",
            "test_a_prompt_of_ten_megabytes_reaches_the_model_whole_in_bounded_memory",
        ],
    },
    "R11 old rows go without holding anybody up": {
        "reliability/test_retention.py": ["test_old_rows_go_in_small_pieces_and_writers_get_their_turn"],
        "operate/test_retention.py": ["test_no_write_deletes_more_than_a_chunk"],
    },
    "R12 a graceful stop": {
        "reliability/test_crashes.py": ["test_a_stopped_server_lets_streams_end_and_leaves_nothing_open"],
        "gateway/test_bills.py": [
            "test_a_stream_longer_than_the_grace_of_a_stop_ends_with_an_error_and_is_billed"
        ],
    },
    "R13 clocks, tokens and keys that end": {
        "reliability/test_clocks.py": [
            "test_a_key_that_is_revoked_while_an_answer_runs_ends_with_that_answer",
            "test_a_clock_that_jumps_while_an_answer_runs_changes_no_bill",
            "test_a_signed_token_is_judged_by_the_clock_of_its_moment_and_a_bad_one_by_its_own_code",
            "test_windows_of_plans_follow_the_clock_and_limits_do_not",
        ],
        "identity/test_keys.py": [
            "test_a_signed_token_is_known_until_its_exp_in_milliseconds",
            "test_a_clock_that_jumps_makes_tokens_expired_and_valid_again_never_an_error",
            "test_garbled_tokens_are_malformed_and_forged_ones_rejected",
            "test_a_revoked_key_is_refused_at_once_here_and_within_the_ttl_elsewhere",
        ],
        "gateway/test_errands.py": ["test_what_runs_on_stops_with_its_key_and_bills_nothing_more"],
    },
    "R14 other people's ids": {
        "reliability/test_tenants.py": [
            "test_no_route_gives_a_stranger_what_is_somebody_elses",
            "test_no_list_shows_a_stranger_what_is_somebody_elses",
            "test_an_id_in_a_body_opens_nothing_either",
        ],
        "console/test_orgs.py": ["test_somebody_elses_ids_are_not_found_on_any_route"],
        "console/test_fuzz.py": ["test_no_input_brings_one_tenant_to_what_is_anothers"],
    },
    # R1 to R8 above run on both; these are of several nodes.
    "R15 PostgreSQL": {
        "money/test_nodes.py": [
            "test_two_nodes_that_serve_the_same_organisations_never_wait_in_a_ring",
            "test_what_comes_twice_on_two_nodes_counts_once",
            "test_a_race_of_two_nodes_for_the_last_money_of_many_is_won_by_ten_each",
            "test_a_node_whose_clock_is_wrong_neither_dies_nor_takes_others_for_dead",
        ],
        "reliability/test_nodes.py": [
            "test_a_node_whose_loop_stands_still_is_not_taken_for_dead",
            "test_a_node_that_was_taken_for_dead_charges_what_it_delivers_all_the_same",
            "test_a_response_in_the_background_of_a_node_that_died_is_said_to_have_failed",
            "test_a_response_in_the_background_is_stopped_from_any_node",
        ],
        "gateway/test_outages.py": ["test_connections_that_are_cut_all_the_time_lose_no_bill_and_no_hold"],
        "reliability/test_clocks.py": [
            "test_two_nodes_whose_clocks_jump_apart_take_neither_each_others_answers_nor_a_window_twice"
        ],
    },
}
ON_BOTH = [promise for promise in PROOFS if int(promise.split()[0][1:]) <= 8]


def functions(file: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("promise", PROOFS)
def test_each_promise_has_its_proof(promise):
    for file, names in PROOFS[promise].items():
        found = functions(file)
        assert set(names) <= found.keys(), file
        for name in names:
            marks = " ".join(ast.unparse(mark) for mark in found[name].decorator_list)
            assert "skip" not in marks, name
            assert "xfail" not in marks, name


@pytest.mark.parametrize("promise", ON_BOTH)
def test_each_promise_about_money_is_proven_on_both_databases(promise):
    """R15: every one of these tests gets its database, in the end, from the fixture of both."""
    for file, names in PROOFS[promise].items():
        fixtures = {**functions("conftest.py")}
        for folder in ("gateway/conftest.py", "money/conftest.py", "reliability/conftest.py", file):
            for name, function in functions(folder).items():
                # A fixture that takes one of its own name continues it.
                if name not in fixtures or name not in arguments(function):
                    fixtures[name] = function
        for name in names:
            test = functions(file)[name]
            if arguments(test):  # the others are arithmetic, which needs no database
                assert "database_url" in needed(test, fixtures), name
                assert "indirect" not in ast.unparse(test), name


def arguments(function: ast.FunctionDef) -> set[str]:
    return {argument.arg for argument in function.args.args}


def needed(function: ast.FunctionDef, fixtures: dict[str, ast.FunctionDef]) -> set[str]:
    """The fixtures that a test gets, and those that they get."""
    found: set[str] = set()
    waiting = arguments(function)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= (arguments(fixtures[name]) if name in fixtures else set()) - found
    return found
