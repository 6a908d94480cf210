"""Calls of `acl`: a return code that is not 0 becomes an error with the function's name and the code."""

# Codes of acl's headers (acl_base_rt.h, rt_error_codes.h) that decide whether the device can still be used.
OUT_OF_MEMORY = frozenset({200000, 207001, 207018, 245000, 245002})
# The device or its driver is gone, or a task never came back: nothing more can be run in this context.
LOST = frozenset({107001, 107019, 107020, 507046, 507899})


class AclError(RuntimeError):
    """`acl.<api> returned <code>`, followed by acl's own last message if there is one.

    Attributes:
        api: the function, `acl.mdl.execute_async`.
        code: its return code.
        kind: "memory", "lost" (the device cannot be used any more) or "failed" (this call failed; another may not).
    """

    def __init__(self, api, code, message=""):
        message = " ".join(message.split())[:300]
        super().__init__(f"{api} returned {code}" + (f": {message}" if message else ""))
        self.api, self.code = api, code
        self.kind = "memory" if code in OUT_OF_MEMORY else "lost" if code in LOST else "failed"


class Calls:
    """`acl`'s functions by name. `calls("rt.malloc", size, 0)` returns the value or raises AclError.

    acl returns `code`, or `(value, code)`, or `(value, value, code)`. Functions that return a value without a code
    (`acl.mdl.create_desc`) are called on `module` itself.
    """

    def __init__(self, module):
        self.module = module
        self._functions = {}

    def __call__(self, name, *arguments):
        return self.check(name, self._find(name)(*arguments))

    def check(self, name, result):
        """The value in a function's result."""
        values, code = (result[:-1], result[-1]) if isinstance(result, tuple) else ((), result)
        if code:
            raise AclError("acl." + name, code, self._last_message())
        return values[0] if len(values) == 1 else values or None

    def offers(self, name):
        """Whether this version of acl has a function."""
        try:
            return self._find(name) is not None
        except AttributeError:
            return False

    def _find(self, name):
        if name not in self._functions:
            found = self.module
            for part in name.split("."):
                found = getattr(found, part)
            self._functions[name] = found
        return self._functions[name]

    def _last_message(self):
        read = getattr(self.module, "get_recent_err_msg", None)  # older releases have none
        return (read() or "") if read else ""
