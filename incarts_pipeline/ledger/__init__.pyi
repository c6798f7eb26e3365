from .activity import (
    Activity as Activity,
    Failure as Failure,
    RunActivity as RunActivity,
    activity_of as activity_of,
)
from .attempts import Outcome as Outcome, Sent as Sent
from .bulk_queries import History as History
from .bulk_read import Query as Query, Reading as Reading
from .claims import (
    Call as Call,
    Claim as Claim,
    Operation as Operation,
    claim_calls as claim_calls,
)
from .current_links import (
    Content as Content,
    Move as Move,
    busy_elsewhere as busy_elsewhere,
    contents_in_use as contents_in_use,
    has_open as has_open,
    join_partition as join_partition,
    learn as learn,
    made_by_others as made_by_others,
    mark_missing as mark_missing,
    reuse as reuse,
)
from .database import (
    check_facts as check_facts,
    clock_of as clock_of,
    health_of as health_of,
    is_there as is_there,
    keep_word as keep_word,
    lock_sets as lock_sets,
    migrate as migrate,
    once as once,
    open_engine as open_engine,
    prepare_file as prepare_file,
    read_facts as read_facts,
    reading as reading,
    transaction as transaction,
)
from .doubts import claim_doubts as claim_doubts
from .enqueued import (
    Worker as Worker,
    claim_enqueued as claim_enqueued,
    drop_withdrawn as drop_withdrawn,
    enqueue as enqueue,
    enqueue_doubts as enqueue_doubts,
    enqueued_counts as enqueued_counts,
    enqueued_sets as enqueued_sets,
    give_back as give_back,
    is_more_to_come as is_more_to_come,
    withdraw as withdraw,
)
from .history import (
    HistoryEntry as HistoryEntry,
    Try as Try,
    entries_of as entries_of,
    key_columns as key_columns,
)
from .integrity import counts_of as counts_of, damage as damage
from .journal import Journal as Journal
from .limits import (
    known_rates as known_rates,
    load_rate as load_rate,
    save_rate as save_rate,
)
from .link_owners import dispute as dispute, hold_disputed as hold_disputed
from .lost_keys import hold_lost as hold_lost, hold_unless_newest as hold_unless_newest
from .overview import Overview as Overview
from .paces import paces_at as paces_at, waits_at as waits_at
from .publications import Note as Note, confirm as confirm, note as note, noted as noted
from .queries import (
    GroupHashes as GroupHashes,
    Holder as Holder,
    Label as Label,
    MadeLink as MadeLink,
    Target as Target,
    bodies_of as bodies_of,
    ensure_sets as ensure_sets,
    go_on_from as go_on_from,
    group_hashes_of as group_hashes_of,
    holders_of as holders_of,
    known_sets as known_sets,
    links_in_use as links_in_use,
    links_made as links_made,
    links_to_read as links_to_read,
    links_used_for as links_used_for,
    next_sequence as next_sequence,
)
from .reader import LedgerReader as LedgerReader, existing_ledger as existing_ledger
from .rekeying import KeyChange as KeyChange, rekey as rekey
from .relocation import give_up as give_up, relocate as relocate
from .relocation_marks import check_moved as check_moved, shown_place as shown_place
from .restore import UNKNOWN_GROUPS as UNKNOWN_GROUPS, Entry as Entry, Restored as Restored
from .review import Case as Case
from .runs import (
    COMPLETE as COMPLETE,
    FINISHED as FINISHED,
    LEASE_SECONDS as LEASE_SECONDS,
    RENEW_SECONDS as RENEW_SECONDS,
    LivingRun as LivingRun,
    Night as Night,
    Process as Process,
    Progress as Progress,
    Task as Task,
    end_run as end_run,
    last_enqueued as last_enqueued,
    living_runs as living_runs,
    name_sets as name_sets,
    new_run_id as new_run_id,
    renew as renew,
    request_stop as request_stop,
    start_run as start_run,
    was_alone as was_alone,
)
from .sqlite.ledger_file import (
    check_beside as check_beside,
    check_file as check_file,
)
from .sqlite.moved import copy_database as copy_database
from .sqlite.witness import mark_of as mark_of, write_mark as write_mark
from .state_machine import (
    ENDED_STATES as ENDED_STATES,
    OperationState as OperationState,
    Replay as Replay,
    ReplayRule as ReplayRule,
    replay_rule as replay_rule,
)
