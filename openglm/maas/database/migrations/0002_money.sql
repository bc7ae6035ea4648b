-- Money. Amounts are integers: nano-currency, or whole plan credits. Times are ms UTC.

-- Only accounts that may not fall below zero are kept as rows (and debts, which may not rise above it);
-- the balance of any other account is the sum of its entries.
CREATE TABLE account (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    unit TEXT NOT NULL CHECK (unit IN ('nano', 'credit')),
    balance BIGINT NOT NULL DEFAULT 0,
    held BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    CHECK (
        (substr(id, 1, 9) = 'suspense:' AND balance <= 0 AND held = 0)
        OR (substr(id, 1, 9) <> 'suspense:' AND held >= 0 AND balance >= held)
    )
);

CREATE TABLE posting (
    tx TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    unit TEXT NOT NULL CHECK (unit IN ('nano', 'credit')),
    org_id TEXT NOT NULL,
    memo TEXT NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL
-- sqlite
) WITHOUT ROWID;
-- postgres
);
-- both
CREATE INDEX posting_of_org ON posting (org_id, created_at);

-- Entries come first, and the posting seals them: it is refused unless they sum to zero, and no entry may
-- follow it. The deferred reference refuses a commit of entries without their posting.
CREATE TABLE ledger_entry (
    tx TEXT NOT NULL REFERENCES posting (tx) DEFERRABLE INITIALLY DEFERRED,
    account TEXT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (tx, account)
-- sqlite
) WITHOUT ROWID;
-- postgres
);
-- both
CREATE INDEX ledger_entry_of_account ON ledger_entry (account);

CREATE TABLE price_version (
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    uncached_pico BIGINT NOT NULL CHECK (uncached_pico >= 0),
    cached_pico BIGINT NOT NULL CHECK (cached_pico >= 0),
    cache_write_pico BIGINT NOT NULL CHECK (cache_write_pico >= 0),
    output_pico BIGINT NOT NULL CHECK (output_pico >= 0),
    per_call_nano BIGINT NOT NULL CHECK (per_call_nano >= 0),
    batch_percent BIGINT NOT NULL CHECK (batch_percent BETWEEN 0 AND 100),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (model, version)
);

-- sqlite
CREATE TRIGGER posting_balances BEFORE INSERT ON posting
WHEN (SELECT coalesce(sum(amount), 1) FROM ledger_entry WHERE tx = NEW.tx) <> 0
BEGIN
    SELECT RAISE(ABORT, 'the entries of a posting must sum to zero');
END;
CREATE TRIGGER posting_seals BEFORE INSERT ON ledger_entry
WHEN EXISTS (SELECT 1 FROM posting WHERE tx = NEW.tx)
BEGIN
    SELECT RAISE(ABORT, 'the posting is sealed');
END;
CREATE TRIGGER ledger_entry_stays BEFORE UPDATE ON ledger_entry
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER ledger_entry_is_kept BEFORE DELETE ON ledger_entry
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER posting_stays BEFORE UPDATE ON posting
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER posting_is_kept BEFORE DELETE ON posting
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER price_version_stays BEFORE UPDATE ON price_version
BEGIN
    SELECT RAISE(ABORT, 'a price version never changes');
END;
-- postgres
CREATE FUNCTION posting_balances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT coalesce(sum(amount), 1) FROM ledger_entry WHERE tx = NEW.tx) <> 0 THEN
        RAISE EXCEPTION 'the entries of a posting must sum to zero';
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER posting_balances BEFORE INSERT ON posting FOR EACH ROW EXECUTE FUNCTION posting_balances();
CREATE FUNCTION posting_seals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM posting WHERE tx = NEW.tx) THEN
        RAISE EXCEPTION 'the posting is sealed';
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER posting_seals BEFORE INSERT ON ledger_entry FOR EACH ROW EXECUTE FUNCTION posting_seals();
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only';
END;
$$;
CREATE TRIGGER ledger_entry_stays BEFORE UPDATE OR DELETE ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER posting_stays BEFORE UPDATE OR DELETE ON posting
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER price_version_stays BEFORE UPDATE ON price_version
    FOR EACH ROW EXECUTE FUNCTION append_only();
-- both

CREATE TABLE hold (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    user_id TEXT,
    model TEXT NOT NULL,
    kind TEXT NOT NULL,
    dialect TEXT,
    endpoint TEXT,
    client_request_id TEXT,
    node_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'settled', 'voided', 'recovered')),
    is_plan BIGINT NOT NULL,
    is_batch BIGINT NOT NULL,
    units BIGINT NOT NULL,
    tariff TEXT NOT NULL,
    factor_permille BIGINT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    accounts TEXT NOT NULL,
    budgets TEXT NOT NULL,
    has_checkpoint BIGINT NOT NULL DEFAULT 0,
    input_uncached BIGINT NOT NULL DEFAULT 0,
    cache_read BIGINT NOT NULL DEFAULT 0,
    cache_write BIGINT NOT NULL DEFAULT 0,
    output_text BIGINT NOT NULL DEFAULT 0,
    output_reasoning BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    closed_at BIGINT
);
CREATE UNIQUE INDEX hold_of_client ON hold (org_id, client_request_id) WHERE client_request_id IS NOT NULL;
CREATE INDEX hold_open ON hold (node_id) WHERE state = 'open';

CREATE TABLE usage_event (
    request_id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    user_id TEXT,
    model TEXT NOT NULL,
    kind TEXT NOT NULL,
    dialect TEXT,
    endpoint TEXT,
    is_plan BIGINT NOT NULL,
    is_batch BIGINT NOT NULL,
    units BIGINT NOT NULL,
    input_uncached BIGINT NOT NULL,
    cache_read BIGINT NOT NULL,
    cache_write BIGINT NOT NULL,
    output_text BIGINT NOT NULL,
    output_reasoning BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    debt_nano BIGINT NOT NULL,
    credits BIGINT NOT NULL,
    balance_nano BIGINT,
    tariff TEXT NOT NULL,
    arithmetic TEXT NOT NULL,
    status TEXT NOT NULL,
    estimated BIGINT NOT NULL,
    ttft_ms BIGINT,
    duration_ms BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX usage_event_of_org ON usage_event (org_id, created_at);

CREATE TABLE budget (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('org', 'project', 'key', 'user')),
    target_id TEXT NOT NULL,
    period TEXT NOT NULL CHECK (period IN ('total', '5h', 'day', 'week', 'month')),
    limit_nano BIGINT NOT NULL CHECK (limit_nano >= 0),
    created_at BIGINT NOT NULL,
    UNIQUE (org_id, scope, target_id, period)
);

CREATE TABLE budget_counter (
    budget_id TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    spent BIGINT NOT NULL DEFAULT 0,
    held BIGINT NOT NULL DEFAULT 0 CHECK (held >= 0),
    PRIMARY KEY (budget_id, starts_at)
-- sqlite
) WITHOUT ROWID;
-- postgres
);
-- both

CREATE TABLE plan_version (
    plan TEXT NOT NULL,
    version BIGINT NOT NULL,
    terms TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (plan, version)
);

CREATE TABLE subscription (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL DEFAULT '',
    plan TEXT NOT NULL,
    version BIGINT NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    idempotency_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (org_id, idempotency_key)
);
CREATE INDEX subscription_of_user ON subscription (org_id, user_id, ends_at);

CREATE TABLE plan_window (
    subscription_id TEXT NOT NULL,
    period TEXT NOT NULL CHECK (period IN ('5h', 'week', 'month')),
    starts_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    credits BIGINT NOT NULL,
    account TEXT NOT NULL UNIQUE,
    PRIMARY KEY (subscription_id, period, starts_at)
);
CREATE INDEX plan_window_open ON plan_window (subscription_id, ends_at);

CREATE TABLE money_node (
    id TEXT PRIMARY KEY,
    lease_until BIGINT NOT NULL
);

CREATE TABLE redeem_code (
    hash TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    amount_nano BIGINT NOT NULL CHECK (amount_nano > 0),
    expires_at BIGINT,
    org_id TEXT,
    redeemed_at BIGINT,
    created_at BIGINT NOT NULL
);

CREATE TABLE topup_order (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    amount_nano BIGINT NOT NULL CHECK (amount_nano > 0),
    adapter TEXT NOT NULL,
    provider_ref TEXT,
    pay_url TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'paid', 'failed')),
    created_at BIGINT NOT NULL,
    paid_at BIGINT,
    UNIQUE (org_id, idempotency_key)
);

CREATE TABLE invoice (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    month TEXT NOT NULL,
    document TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    UNIQUE (org_id, month)
);
