from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Answer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANSWER_UNSPECIFIED: _ClassVar[Answer]
    GRANTED: _ClassVar[Answer]
    PARTIAL: _ClassVar[Answer]
    EARMARKED: _ClassVar[Answer]
    RECLAIMING: _ClassVar[Answer]
    PENDING: _ClassVar[Answer]
    REFUSED: _ClassVar[Answer]
    DONE: _ClassVar[Answer]
ANSWER_UNSPECIFIED: Answer
GRANTED: Answer
PARTIAL: Answer
EARMARKED: Answer
RECLAIMING: Answer
PENDING: Answer
REFUSED: Answer
DONE: Answer

class Vector(_message.Message):
    __slots__ = ("amounts",)
    class AmountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    AMOUNTS_FIELD_NUMBER: _ClassVar[int]
    amounts: _containers.ScalarMap[str, int]
    def __init__(self, amounts: _Optional[_Mapping[str, int]] = ...) -> None: ...

class AllocationRequest(_message.Message):
    __slots__ = ("id", "consumer", "group", "unit", "min", "max", "priority", "firm")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    FIRM_FIELD_NUMBER: _ClassVar[int]
    id: str
    consumer: str
    group: str
    unit: Vector
    min: int
    max: int
    priority: int
    firm: bool
    def __init__(self, id: _Optional[str] = ..., consumer: _Optional[str] = ..., group: _Optional[str] = ..., unit: _Optional[_Union[Vector, _Mapping]] = ..., min: _Optional[int] = ..., max: _Optional[int] = ..., priority: _Optional[int] = ..., firm: _Optional[bool] = ...) -> None: ...

class ModifyRequest(_message.Message):
    __slots__ = ("id", "absolute", "delta", "min", "max")
    ID_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    id: str
    absolute: Vector
    delta: Vector
    min: int
    max: int
    def __init__(self, id: _Optional[str] = ..., absolute: _Optional[_Union[Vector, _Mapping]] = ..., delta: _Optional[_Union[Vector, _Mapping]] = ..., min: _Optional[int] = ..., max: _Optional[int] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("id", "amounts", "keep_demand", "block")
    ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNTS_FIELD_NUMBER: _ClassVar[int]
    KEEP_DEMAND_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    id: str
    amounts: Vector
    keep_demand: bool
    block: str
    def __init__(self, id: _Optional[str] = ..., amounts: _Optional[_Union[Vector, _Mapping]] = ..., keep_demand: _Optional[bool] = ..., block: _Optional[str] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class BlockRequest(_message.Message):
    __slots__ = ("unit", "amounts", "group")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    AMOUNTS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    unit: str
    amounts: Vector
    group: str
    def __init__(self, unit: _Optional[str] = ..., amounts: _Optional[_Union[Vector, _Mapping]] = ..., group: _Optional[str] = ...) -> None: ...

class UnblockRequest(_message.Message):
    __slots__ = ("unit", "group")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    unit: str
    group: str
    def __init__(self, unit: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class OfferRequest(_message.Message):
    __slots__ = ("notice", "entries")
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    notice: str
    entries: _containers.RepeatedCompositeFieldContainer[OfferEntry]
    def __init__(self, notice: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[OfferEntry, _Mapping]]] = ...) -> None: ...

class OfferEntry(_message.Message):
    __slots__ = ("id", "amounts")
    ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    amounts: Vector
    def __init__(self, id: _Optional[str] = ..., amounts: _Optional[_Union[Vector, _Mapping]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("answer", "reason", "shortage", "deadline", "events")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SHORTAGE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    answer: Answer
    reason: str
    shortage: Vector
    deadline: int
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, answer: _Optional[_Union[Answer, str]] = ..., reason: _Optional[str] = ..., shortage: _Optional[_Union[Vector, _Mapping]] = ..., deadline: _Optional[int] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("name", "mode", "capacity", "free", "consumers", "loans", "policy_fallbacks")
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
    POLICY_FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    name: str
    mode: str
    capacity: _containers.ScalarMap[str, int]
    free: _containers.ScalarMap[str, int]
    consumers: _containers.RepeatedCompositeFieldContainer[Consumer]
    loans: _containers.RepeatedCompositeFieldContainer[Loan]
    policy_fallbacks: int
    def __init__(self, name: _Optional[str] = ..., mode: _Optional[str] = ..., capacity: _Optional[_Mapping[str, int]] = ..., free: _Optional[_Mapping[str, int]] = ..., consumers: _Optional[_Iterable[_Union[Consumer, _Mapping]]] = ..., loans: _Optional[_Iterable[_Union[Loan, _Mapping]]] = ..., policy_fallbacks: _Optional[int] = ...) -> None: ...

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
