"""SQL of planning, over the requests and what the workspace holds of the ledger.

The order of the cases is the rule: a row that has its link is left alone whatever else is open, a
doubt about the same content is settled, and nothing new is made while an older doubt is open.
"""

from __future__ import annotations


def verdict(names: tuple[str, str], *rules: tuple[str, str, str]) -> str:
    """Return SQL for a struct of two texts: those of the first rule whose condition holds.

    A rule is a condition and its two texts, each a plain word or an SQL expression.
    """

    def text(value: str) -> str:
        return f"'{value}'" if value.isidentifier() else value

    one, other = names
    whens = (
        f"WHEN {condition} THEN {{'{one}': {text(first)}, '{other}': {text(second)}}}"
        for condition, first, second in rules
    )
    return "\n".join(["CASE", *whens, "END"])


# The keys whose links are wanted of the ledger, where the rows of all others are quiet.
ASKED = """
CREATE OR REPLACE TABLE asked AS
SELECT row_key FROM request WHERE row_key IS NOT NULL UNION SELECT row_key FROM gone
"""
OF_KEYS = "SEMI JOIN {keys} USING (row_key)"

# Catalog rows that don't simply have their link already, each beside the link that its row uses
# now, and (with `catalog_row` null) links whose row the catalog doesn't have. On most days these
# are few, and all that follows looks at them alone.
COMPARED = """
SELECT catalog_row, $link_set AS link_set, row_key, op_id AS current_op, link_hash, is_missing,
       op_id IN (SELECT op_id FROM unlinked WHERE state = 'needs_review') AS is_disputed
FROM (SELECT row_key, catalog_row, content_hash FROM request WHERE link_set = $link_set) AS request
FULL JOIN (
    SELECT row_key, op_id, content_hash AS link_hash, is_missing FROM ledger_row
    WHERE link_set = $link_set
) AS current USING (row_key)
WHERE content_hash IS NULL OR content_hash IS DISTINCT FROM link_hash OR is_missing = 1
   OR is_disputed
"""

# The rows of `compared` that have a request of their own: all that decisions look at.
OPEN_REQUESTS = """
CREATE OR REPLACE VIEW open_request AS
SELECT request.*, current_op, link_hash
FROM request JOIN (SELECT * EXCLUDE (row_key) FROM compared) AS compared
    USING (link_set, catalog_row)
WHERE content_hash IS NULL OR content_hash IS DISTINCT FROM link_hash OR is_disputed
"""

# The rows that a run answers for: the whole set's, or those that were last in its partition.
OWN = "CREATE OR REPLACE VIEW own_{table} AS SELECT * FROM {table}"
OF_PARTITION = """
SEMI JOIN (SELECT link_set, row_key FROM member WHERE "partition" = {partition})
USING (link_set, row_key)
"""

# Catalog rows whose content is not their link's: an earlier link may have it.
STRAYING = (
    "FROM open_request WHERE content_hash IS NOT NULL AND LIST_CONTAINS($link_sets, link_set)"
)

# The link sets that the requests name.
LINK_SETS = "SELECT DISTINCT link_set FROM request WHERE link_set <> '' ORDER BY ALL"

# Rows that share a key within one link set, where at least one of them isn't its link's content
# already; without such a one they are all alike. `kinds` counts their different contents. First
# hashes of the keys alone are counted, which is many times as fast and takes little memory.
SHARED = """
CREATE OR REPLACE TABLE shared AS
WITH straying AS (
    SELECT DISTINCT HASH(link_set, row_key) AS hash FROM open_request
), repeated AS (
    SELECT hash FROM (SELECT HASH(link_set, row_key) AS hash FROM request)
    SEMI JOIN straying USING (hash) GROUP BY hash HAVING COUNT(*) > 1
)
SELECT link_set, row_key, COUNT(*) AS n, COUNT(DISTINCT content_hash) AS kinds,
       MIN(catalog_row) AS first_row, LIST(catalog_row ORDER BY catalog_row)[:6] AS catalog_rows,
       BOOL_OR(pinned) AS pinned, NULL::VARCHAR AS fields,
       MIN(problems[1].code) FILTER (problems[1].severity = 'suspicion') AS suspicion
FROM request
WHERE content_hash IS NOT NULL AND HASH(link_set, row_key) IN (SELECT hash FROM repeated)
GROUP BY link_set, row_key
HAVING COUNT(*) > 1
"""

# The first two contents of keys that have several; of so many keys, as it takes a look at each.
CLASHING = """
WITH content AS (
    SELECT link_set, row_key, content_hash, MIN(catalog_row) AS first_row, ANY_VALUE(body) AS body
    FROM request
    SEMI JOIN (SELECT * FROM shared WHERE kinds > 1 ORDER BY first_row LIMIT 10_000)
        USING (link_set, row_key)
    WHERE content_hash IS NOT NULL AND body IS NOT NULL
    GROUP BY ALL
)
SELECT link_set, row_key, LIST(body ORDER BY first_row)[:2] AS bodies
FROM content GROUP BY ALL HAVING COUNT(*) > 1
"""

CLASHES = """
UPDATE shared SET fields = clash.fields FROM clash
WHERE clash.link_set = shared.link_set AND clash.row_key = shared.row_key
"""

DIFFERING = """
SELECT link_set, catalog_row, current_op, body
FROM open_request
WHERE content_hash IS NOT NULL AND link_hash <> content_hash AND link_hash <> ''::BLOB
  AND body IS NOT NULL
"""

# Rows whose link was imported without its content: what the catalog has is taken for it.
HAS_UNKNOWN = "SELECT EXISTS (FROM compared WHERE link_hash = ''::BLOB)"
UNKNOWN = """
SELECT current_op, ANY_VALUE(content_hash) AS content_hash, ANY_VALUE(body) AS body
FROM open_request
WHERE link_hash = ''::BLOB AND content_hash IS NOT NULL
GROUP BY current_op HAVING COUNT(DISTINCT content_hash) = 1
"""

# The first that holds for a row counts, over the request `r`, those that share its key (`s`), its
# open operation (`o`) and whether that may be settled (`d`), the newest operation of its content
# (`latest`), an earlier link of it (`p`), a row that left with its content (`k`), what changed
# (`c`), and whether its key lost zeros (`z`). Where a request has no error, its problems begin with
# its suspicions.
_IS_NEW = "r.current_op IS NULL AND p.op_id IS NULL"
_SUSPICION = (
    "CASE WHEN r.problems[1].severity = 'suspicion' THEN r.problems[1].code ELSE s.suspicion END"
)
_VERDICT = verdict(
    ("action", "reason"),
    ("NOT r.wanted", "skip", "no_products"),
    ("r.content_hash IS NULL", "reject", "invalid"),
    ("s.kinds > 1", "reject", "duplicate_key"),
    # A link that its row uses is disputed; else what is open has no link.
    ("o.op_id = r.current_op", "hold", "needs_review"),
    ("r.link_hash = r.content_hash OR r.link_hash = ''::BLOB", "unchanged", "same"),
    ("o.content_hash = r.content_hash AND d.may_settle", "settle", "answer_unknown"),
    ("o.content_hash = r.content_hash", "hold", "needs_review"),
    ("o.op_id IS NOT NULL AND d.may_settle", "settle", "earlier_in_doubt"),
    ("o.op_id IS NOT NULL", "hold", "earlier_in_doubt"),
    # What was refused once may have been made, or given up, under a later key.
    (
        "latest.state = 'rejected' AND p.op_id IS NULL AND NOT $retry_rejected",
        "reject",
        "refused_by_api",
    ),
    (f"{_IS_NEW} AND k.is_pair AND $rekeyed = 'move'", "rekey", "rekeyed"),
    (f"{_IS_NEW} AND k.row_key IS NOT NULL AND $rekeyed <> 'new'", "hold", "looks_rekeyed"),
    (f"r.current_op IS NULL AND {_SUSPICION} IS NOT NULL", "hold", _SUSPICION),
    # A row that a person calls a new one beside one that left is one.
    ("z.row_key IS NOT NULL AND k.row_key IS NULL AND NOT $zeros_lost", "hold", "lost_zeros"),
    (_IS_NEW, "create", "new"),
    ("r.current_op IS NULL", "reuse", "changed_back"),
    ("r.pinned OR s.pinned", "hold", "pinned"),
    ("c.policy = 'hold'", "hold", "policy_hold"),
    ("c.policy = 'ignore'", "unchanged", "ignored_change"),
    # Whatever else, no link is made, or used again, of what looks wrong.
    (f"{_SUSPICION} IS NOT NULL", "hold", _SUSPICION),
    ("p.op_id IS NOT NULL", "reuse", "changed_back"),
    ("TRUE", "replace", "changed"),
)

# Every row but those that simply have their link already, which is nearly all of them on most days.
DECISION = f"""
CREATE OR REPLACE TABLE decision AS
WITH undecided AS (
    SELECT * FROM open_request
    UNION ALL
    SELECT *, NULL, content_hash FROM request
    SEMI JOIN (SELECT * FROM shared WHERE kinds > 1) USING (link_set, row_key)
    ANTI JOIN open_request USING (link_set, catalog_row)
    WHERE content_hash IS NOT NULL
), ruled AS (
    SELECT r.catalog_row, r.link_set, r.row_key, r.retailer, r.intent, r.priority,
           r.content_hash, r.current_op, s.first_row,
           {_VERDICT} AS verdict,
           p.op_id AS past_op, k.was_key, k.was_op
    FROM undecided AS r
    LEFT JOIN shared AS s ON s.link_set = r.link_set AND s.row_key = r.row_key
    LEFT JOIN (
        SELECT * FROM unlinked WHERE state IN ('sent', 'in_doubt', 'needs_review')
    ) AS o ON o.link_set = r.link_set AND o.row_key = r.row_key
    LEFT JOIN doubt AS d ON d.op_id = o.op_id
    LEFT JOIN (
        SELECT * FROM unlinked QUALIFY ROW_NUMBER() OVER (
            PARTITION BY link_set, row_key, content_hash ORDER BY op_id DESC
        ) = 1
    ) AS latest ON latest.link_set = r.link_set AND latest.row_key = r.row_key
        AND latest.content_hash = r.content_hash
    LEFT JOIN past AS p ON p.link_set = r.link_set AND p.row_key = r.row_key
        AND p.content_hash = r.content_hash
    LEFT JOIN rekeyed AS k ON k.link_set = r.link_set AND k.row_key = r.row_key
        AND k.content_hash = r.content_hash
    LEFT JOIN zeroless AS z ON z.link_set = r.link_set AND z.row_key = r.row_key
    LEFT JOIN changed AS c ON c.link_set = r.link_set AND c.catalog_row = r.catalog_row
)
SELECT * EXCLUDE (verdict), verdict.action, verdict.reason,
       verdict.action IN ('create', 'replace')
           AND (first_row IS NULL OR catalog_row = first_row) AS is_call,
       verdict.action IN ('reuse', 'rekey')
           AND (first_row IS NULL OR catalog_row = first_row) AS is_move,
       FALSE AS is_held_call
FROM ruled
"""  # noqa: S608 - our own text

# What is to be sent, or to get the link of another key, as far as idempotency keys depend on it.
NEW_KEYS = """
SELECT decision.link_set, decision.row_key, decision.content_hash, decision.current_op,
       {made_for} AS for_link_id
FROM decision
JOIN request
    ON request.link_set = decision.link_set AND request.catalog_row = decision.catalog_row
WHERE is_call OR is_move AND action = 'rekey'
"""

# Rows that may have been sent already under a key that a restored ledger doesn't know.
HOLD = """
UPDATE decision SET action = 'hold', reason = 'needs_review', is_move = FALSE, is_call = FALSE,
       is_held_call = is_call OR is_move
FROM held
WHERE held.link_set = decision.link_set AND held.row_key = decision.row_key
    AND held.content_hash = decision.content_hash AND action IN ('create', 'replace', 'rekey')
"""

# They are claimed like calls, for the ledger to say so from then on.
HELD_CALLS = """
SELECT decision.link_set, decision.row_key, decision.retailer, decision.intent,
       CASE WHEN decision.current_op IS NULL THEN 'create' ELSE 'replace' END AS action,
       decision.content_hash, decision.current_op, request.body, {made_for} AS for_link_id
FROM decision
JOIN request
    ON request.link_set = decision.link_set AND request.catalog_row = decision.catalog_row
WHERE is_held_call
"""

# Rows that go back to an earlier link.
REUSES = """
SELECT link_set, row_key, past_op, current_op FROM decision WHERE is_move AND action = 'reuse'
"""

# Rows that take over the link of one that left the catalog.
REKEYS = """
SELECT link_set, was_key, row_key, was_op FROM decision WHERE is_move AND action = 'rekey'
"""

# The first rows that look re-keyed, with the keys that they may have had.
LOOK_REKEYED = """
SELECT LIST(was_key || ' → ' || row_key ORDER BY catalog_row)[:3]
FROM decision WHERE reason = 'looks_rekeyed'
"""

# Operations whose link may exist.
OPEN_OPERATIONS = """
SELECT op_id, state, run_id, first_sent_at, first_sent_boot, boot_id, api_key_fingerprint
FROM unlinked WHERE state IN ('sent', 'in_doubt', 'needs_review')
"""

# A code can't be changed, and its link can't have its identifier twice: what was made under it on
# this link is the code, whatever name or metadata is asked for today.
KEEP_MADE = """
UPDATE request SET content_hash = made.content_hash, problems = [{
    'severity': 'note', 'field': 'name', 'code': $code,
    'message': 'the code keeps the name and metadata that it was made with, since a link can''t '
        || 'have an identifier twice; take another identifier for another code'
}]
FROM made_code AS made
WHERE made.link_set = request.link_set AND made.row_key = request.row_key
    AND made.for_link_id = request.code.link_id AND made.content_hash <> request.content_hash
"""

# The action for each row of the catalog.
JUDGED = """
CREATE OR REPLACE VIEW judged AS
SELECT request.*, COALESCE(decision.action, 'unchanged') AS action,
       COALESCE(decision.reason, 'same') AS reason, decision.current_op, decision.was_key
FROM request
LEFT JOIN decision USING (link_set, catalog_row)
"""

# Rows that keep the link that they use, whatever comes of older content of theirs in doubt: those
# that need nothing, and those whose code is printed.
THAT_STAY = """
SELECT DISTINCT link_set, row_key FROM judged
SEMI JOIN (SELECT * FROM unlinked WHERE state IN ('sent', 'in_doubt', 'needs_review'))
    USING (link_set, row_key)
WHERE action = 'unchanged' AND reason = 'same' OR pinned AND current_op IS NOT NULL
"""

# How many rows have been left out of the decisions: they have their link already.
_LEFT_OUT = """
SELECT link_set, 'unchanged' AS action, 'same' AS reason, n - COALESCE(decided, 0) AS n
FROM (
    SELECT link_set, SUM(n) AS n FROM (
        SELECT link_set, COUNT(*) AS n FROM request GROUP BY link_set
        UNION ALL
        SELECT link_set, row_count FROM quiet
    )
    GROUP BY link_set
)
LEFT JOIN (SELECT link_set, COUNT(*) AS decided FROM {decision} GROUP BY link_set) USING (link_set)
"""

COUNTS = f"""
SELECT link_set, action, reason, SUM(n)::BIGINT AS n, SUM(calls)::BIGINT AS calls
FROM (
    SELECT link_set, action, reason, COUNT(*) AS n, COUNT(*) FILTER (is_call) AS calls
    FROM decision GROUP BY ALL
    UNION ALL
    SELECT *, 0 AS calls FROM ({_LEFT_OUT.format(decision="decision")})
)
GROUP BY ALL HAVING SUM(n) > 0 ORDER BY ALL
"""  # noqa: S608 - our own text

# Rows of the link set that the catalog no longer has, each with whether that is new.
MISSING = """
CREATE OR REPLACE TABLE missing AS
SELECT link_set, row_key, current_op AS op_id, link_hash, is_missing FROM own_compared
WHERE catalog_row IS NULL
"""

# Rows that had left the catalog and are in it again.
BACK = """
SELECT DISTINCT link_set, row_key FROM compared WHERE catalog_row IS NOT NULL AND is_missing = 1
"""

# What is in doubt may be settled also where its row left the catalog long ago.
TOUCH_DOUBTS = """
INSERT INTO touched SELECT DISTINCT row_key FROM unlinked
WHERE state IN ('intended', 'sent', 'in_doubt', 'needs_review')
"""

# The keys of a part whose published rows may become others: a link may also move from a row that
# left the catalog long ago.
OPEN_KEYS = """
CREATE OR REPLACE VIEW open_key AS
SELECT row_key FROM touched
UNION
SELECT was_key FROM decision WHERE is_move AND action = 'rekey'
"""

# Keys that have something open though their rows have their link, or had left the catalog.
UNSETTLED = """
SELECT row_key FROM unlinked WHERE state <> 'rejected' AND state <> 'abandoned'
UNION
SELECT row_key FROM compared WHERE catalog_row IS NOT NULL AND is_missing = 1
"""

# Links whose row left the catalog since the last run.
NEWLY_MISSING = "SELECT link_set, row_key FROM missing WHERE is_missing = 0"

# Rows of the catalog that are new to their partition.
MOVED = """
SELECT DISTINCT link_set, row_key FROM request
WHERE row_key IS NOT NULL AND NOT EXISTS (
    FROM member WHERE member.link_set = request.link_set AND member.row_key = request.row_key
        AND member."partition" = $partition
)
"""

# Until a run comes to its calls, there are none that could be over its limit.
NO_CALLS = """
CREATE OR REPLACE TABLE call AS
SELECT link_set, row_key, retailer, intent, 0 AS turn FROM decision LIMIT 0
"""

# The calls in sending order; a pilot's limit is spread over the kinds in `$sample_per`.
CALLS = """
CREATE OR REPLACE TABLE call AS
WITH ranked AS (
    SELECT *, ROW_NUMBER() OVER (
        PARTITION BY {sample_per} ORDER BY priority DESC NULLS LAST, catalog_row, link_set
    ) AS rank
    FROM decision WHERE is_call
)
SELECT ranked.link_set, ranked.row_key, ranked.retailer, ranked.intent, ranked.action,
       ranked.content_hash, ranked.current_op, request.body,
       {made_for} AS for_link_id,
       ROW_NUMBER() OVER (
           ORDER BY {order} ranked.priority DESC NULLS LAST, ranked.catalog_row,
               ranked.link_set
       ) AS turn
FROM ranked
JOIN request
    ON request.link_set = ranked.link_set AND request.catalog_row = ranked.catalog_row
"""
