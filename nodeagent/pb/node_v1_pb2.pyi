from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    GRANTED: _ClassVar[Outcome]
    PARTIAL: _ClassVar[Outcome]
    PENDING: _ClassVar[Outcome]
    RECLAIMING: _ClassVar[Outcome]
    REFUSED: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
GRANTED: Outcome
PARTIAL: Outcome
PENDING: Outcome
RECLAIMING: Outcome
REFUSED: Outcome

class AllocationRequest(_message.Message):
    __slots__ = ("id", "consumer", "group", "min", "max", "part", "priority", "firm")
    class PartEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    FIRM_FIELD_NUMBER: _ClassVar[int]
    id: str
    consumer: str
    group: str
    min: int
    max: int
    part: _containers.ScalarMap[str, int]
    priority: int
    firm: bool
    def __init__(self, id: _Optional[str] = ..., consumer: _Optional[str] = ..., group: _Optional[str] = ..., min: _Optional[int] = ..., max: _Optional[int] = ..., part: _Optional[_Mapping[str, int]] = ..., priority: _Optional[int] = ..., firm: _Optional[bool] = ...) -> None: ...

class ModifyRequest(_message.Message):
    __slots__ = ("id", "absolute", "delta")
    ID_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    id: str
    absolute: int
    delta: int
    def __init__(self, id: _Optional[str] = ..., absolute: _Optional[int] = ..., delta: _Optional[int] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("id", "parts", "autoadjust")
    ID_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    AUTOADJUST_FIELD_NUMBER: _ClassVar[int]
    id: str
    parts: int
    autoadjust: bool
    def __init__(self, id: _Optional[str] = ..., parts: _Optional[int] = ..., autoadjust: _Optional[bool] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BlockRequest(_message.Message):
    __slots__ = ("group", "amounts")
    class AmountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    GROUP_FIELD_NUMBER: _ClassVar[int]
    AMOUNTS_FIELD_NUMBER: _ClassVar[int]
    group: str
    amounts: _containers.ScalarMap[str, int]
    def __init__(self, group: _Optional[str] = ..., amounts: _Optional[_Mapping[str, int]] = ...) -> None: ...

class BlockResponse(_message.Message):
    __slots__ = ("blocked",)
    class BlockedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    blocked: _containers.ScalarMap[str, int]
    def __init__(self, blocked: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("id", "outcome", "consumer", "held", "waiting", "shortage", "deadline", "text")
    class ShortageEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    SHORTAGE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    id: str
    outcome: Outcome
    consumer: str
    held: int
    waiting: int
    shortage: _containers.ScalarMap[str, int]
    deadline: int
    text: str
    def __init__(self, id: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., consumer: _Optional[str] = ..., held: _Optional[int] = ..., waiting: _Optional[int] = ..., shortage: _Optional[_Mapping[str, int]] = ..., deadline: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class OfferRequest(_message.Message):
    __slots__ = ("notice", "allocations")
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    ALLOCATIONS_FIELD_NUMBER: _ClassVar[int]
    notice: str
    allocations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, notice: _Optional[str] = ..., allocations: _Optional[_Iterable[str]] = ...) -> None: ...

class OfferResponse(_message.Message):
    __slots__ = ("accepted", "text")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    text: str
    def __init__(self, accepted: _Optional[bool] = ..., text: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("cursor", "consumer")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    consumer: str
    def __init__(self, cursor: _Optional[int] = ..., consumer: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("cursor", "at", "type", "group", "consumer", "allocation", "details")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    at: int
    type: str
    group: str
    consumer: str
    allocation: str
    details: str
    def __init__(self, cursor: _Optional[int] = ..., at: _Optional[int] = ..., type: _Optional[str] = ..., group: _Optional[str] = ..., consumer: _Optional[str] = ..., allocation: _Optional[str] = ..., details: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("groups", "plan", "cursor")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    plan: str
    cursor: int
    def __init__(self, groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ..., plan: _Optional[str] = ..., cursor: _Optional[int] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("name", "mode", "capacity", "free", "consumers", "loans")
    class CapacityEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class FreeEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    LOANS_FIELD_NUMBER: _ClassVar[int]
    name: str
    mode: str
    capacity: _containers.ScalarMap[str, int]
    free: _containers.ScalarMap[str, int]
    consumers: _containers.RepeatedCompositeFieldContainer[Consumer]
    loans: _containers.RepeatedCompositeFieldContainer[Loan]
    def __init__(self, name: _Optional[str] = ..., mode: _Optional[str] = ..., capacity: _Optional[_Mapping[str, int]] = ..., free: _Optional[_Mapping[str, int]] = ..., consumers: _Optional[_Iterable[_Union[Consumer, _Mapping]]] = ..., loans: _Optional[_Iterable[_Union[Loan, _Mapping]]] = ...) -> None: ...

class Consumer(_message.Message):
    __slots__ = ("name", "parent", "leaf", "own", "deserved", "used", "borrowed", "lent", "pending", "deadline")
    class OwnEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class DeservedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class UsedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class BorrowedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class LentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class PendingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    LEAF_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    DESERVED_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    BORROWED_FIELD_NUMBER: _ClassVar[int]
    LENT_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    name: str
    parent: str
    leaf: bool
    own: _containers.ScalarMap[str, int]
    deserved: _containers.ScalarMap[str, int]
    used: _containers.ScalarMap[str, int]
    borrowed: _containers.ScalarMap[str, int]
    lent: _containers.ScalarMap[str, int]
    pending: _containers.ScalarMap[str, int]
    deadline: int
    def __init__(self, name: _Optional[str] = ..., parent: _Optional[str] = ..., leaf: _Optional[bool] = ..., own: _Optional[_Mapping[str, int]] = ..., deserved: _Optional[_Mapping[str, int]] = ..., used: _Optional[_Mapping[str, int]] = ..., borrowed: _Optional[_Mapping[str, int]] = ..., lent: _Optional[_Mapping[str, int]] = ..., pending: _Optional[_Mapping[str, int]] = ..., deadline: _Optional[int] = ...) -> None: ...

class Loan(_message.Message):
    __slots__ = ("resource", "borrower", "lender", "amount")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    BORROWER_FIELD_NUMBER: _ClassVar[int]
    LENDER_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    resource: str
    borrower: str
    lender: str
    amount: int
    def __init__(self, resource: _Optional[str] = ..., borrower: _Optional[str] = ..., lender: _Optional[str] = ..., amount: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lines: _Optional[_Iterable[str]] = ...) -> None: ...

class PlanShowRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PlanShowResponse(_message.Message):
    __slots__ = ("document",)
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    document: str
    def __init__(self, document: _Optional[str] = ...) -> None: ...

class PlanApplyRequest(_message.Message):
    __slots__ = ("document",)
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    document: str
    def __init__(self, document: _Optional[str] = ...) -> None: ...

class PlanApplyResponse(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...
