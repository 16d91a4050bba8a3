"""Every error that a user of the library can meet, in one tree.

::

    PerdureError
    ├── DefinitionError          raised while a definition, a schedule or an app is put together
    ├── RequestError             the answer of a call that changed nothing
    │   ├── InvalidId            the instance id is not usable
    │   ├── InvalidInput         a state or an event is not of its declared type
    │   ├── UnknownJob           nothing of that name is served here
    │   ├── UnknownAction        that kind of job has no such call
    │   ├── KeyReused            the idempotency key came back with another request
    │   ├── Overloaded           a bounded queue or table is full; nothing was taken
    │   ├── Parked               the instance is kept aside; the reason says why
    │   ├── Rejected             the job's own hook said no, with its typed error
    │   ├── Crashed              the job's own hook broke: a defect
    │   └── EngineClosed         the engine is stopping and takes no request any more
    ├── OutcomeUnknown           the call may or may not have been applied: repeat it with its key
    └── StoreError               what a storage interpreter may answer
        ├── Conflict             the instance moved on; nothing was written
        ├── KeysFull             the address remembers as many idempotency keys as it may
        ├── StoreUnavailable     the storage did not answer; nothing was written
        ├── StoreLocked          another engine owns the store
        ├── StoreTooNew          the store was written by a newer version of the library
        └── StoreCorrupt         a row cannot be read as what it should be

They are exceptions, so that ``unwrap`` and ``raise`` work; the client hands them out as values, inside ``Failure``.
"""
