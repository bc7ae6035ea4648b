"""Where each promise about reliability is proven: R1 to R15, and the tests that would fail without it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
PROOFS = {
    "R1 clients that drop are billed exactly": {
        "reliability/test_disconnects.py": [
            "test_whoever_leaves_whenever_in_whatever_dialect_pays_what_the_model_wrote"
        ],
        "gateway/test_bills.py": ["test_clients_that_drop_while_a_whole_answer_is_made_are_billed_too"],
    },
    "R2 a killed server loses at most a checkpoint": {
        "reliability/test_crashes.py": ["test_a_killed_server_loses_at_most_one_checkpoint_and_no_hold"],
        "money/test_recovery.py": ["test_two_that_recover_and_one_that_settles_make_one_receipt"],
    },
    "R3 upstreams that fail": {
        "upstreams/test_answers.py": ["test_an_answer_that_breaks_off_is_a_failure_and_keeps_its_last_usage"],
        "upstreams/test_router.py": ["test_an_answer_that_has_begun_is_never_begun_again_elsewhere"],
        "gateway/test_bills.py": [
            "test_an_upstream_that_dies_in_the_middle_is_billed_for_what_it_said",
            "test_an_upstream_without_usage_is_counted_with_its_own_tokenizer_and_marked",
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
        "reliability/test_paths.py": ["test_a_budget_stops_every_path_before_anything_is_asked_or_charged"],
        "money/test_budgets.py": ["test_a_budget_stops_every_kind_of_request_at_the_same_point"],
    },
    "R8 a hundred thousand usages are exact": {
        "money/test_exactness.py": [
            "test_a_hundred_thousand_usages_cost_what_exact_fractions_say",
            "test_thousands_of_usages_through_the_database_are_exact",
        ],
    },
    "R9 long work leaks nothing": {
        "reliability/test_crashes.py": ["test_long_work_leaks_neither_memory_nor_files_nor_threads"],
    },
    "R10 slow readers and large pieces": {
        "reliability/test_disconnects.py": [
            "test_a_client_that_does_not_read_holds_nothing_up_and_pays_what_was_written",
            "test_a_line_of_five_megabytes_arrives_byte_for_byte",
            "test_a_prompt_of_ten_megabytes_reaches_the_model_whole",
        ],
        "upstreams/test_answers.py": ["test_an_answer_is_the_same_however_it_is_sent"],
    },
    "R11 old rows go without holding anybody up": {
        "reliability/test_retention.py": ["test_old_rows_go_in_small_pieces_and_writers_get_their_turn"],
        "operate/test_retention.py": ["test_no_write_deletes_more_than_a_chunk"],
    },
    "R12 a graceful stop": {
        "reliability/test_crashes.py": ["test_a_stopped_server_lets_streams_end_and_leaves_nothing_open"],
    },
    "R13 clocks, tokens and keys that end": {
        "reliability/test_paths.py": [
            "test_a_key_that_is_revoked_while_an_answer_runs_ends_with_that_answer",
            "test_a_clock_that_jumps_while_an_answer_runs_changes_no_bill",
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
    "R15 the same on PostgreSQL": {"conftest.py": ["database_url"]},
}


@pytest.mark.parametrize("promise", PROOFS)
def test_each_promise_has_its_proof(promise):
    for file, names in PROOFS[promise].items():
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert set(names) <= found, file
