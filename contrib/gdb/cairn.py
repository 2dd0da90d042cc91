# SPDX-License-Identifier: MIT
"""
Debugger helper: the coroutines of a running cairnd, or of its core file.

    (gdb) source contrib/gdb/cairn.py
    (gdb) cairn coroutines              one line for each live coroutine
    (gdb) cairn backtrace all           the stacks of all of them
    (gdb) cairn backtrace 0x7f...       the stack of one

A suspended coroutine is no thread, so gdb knows nothing of its stack. Its
registers lie where the switch (base/coroutine_switch_*.S) has saved them; an
unwinder presents them to gdb as the caller of the innermost frame. Nothing in
the process is changed, which is why this works on core files too.
"""

import gdb
import gdb.unwinder

# Where the switch leaves each register, in bytes from the saved stack pointer,
# and how far up the stack pointer itself goes when the coroutine goes on.
LAYOUTS = {
    "i386:x86-64": {
        "pc": "rip",
        "sp": "rsp",
        "saved": {"r15": 0, "r14": 8, "r13": 16, "r12": 24, "rbx": 32, "rbp": 40, "rip": 48},
        "size": 56,
        # Places in uc_mcontext.gregs of <sys/ucontext.h>, for the ucontext switch.
        "gregs": {"r12": 4, "r13": 5, "r14": 6, "r15": 7, "rbp": 10, "rbx": 11, "rsp": 15,
                  "rip": 16},
    },
    "aarch64": {
        "pc": "pc",
        "sp": "sp",
        "saved": {"x19": 0, "x20": 8, "x21": 16, "x22": 24, "x23": 32, "x24": 40, "x25": 48,
                  "x26": 56, "x27": 64, "x28": 72, "x29": 80, "pc": 88},
        "size": 160,
        "gregs": None,
    },
}

STATES = {"CO_READY": "ready", "CO_RUNNING": "running", "CO_SUSPENDED": "suspended",
          "CO_FINISHED": "ending"}

# Below these only the switch itself is on the stack; alone they mean: not started yet.
OUTERMOST = ("stack_main", "first_frame")


def layout():
    name = gdb.selected_inferior().architecture().name()
    if name not in LAYOUTS:
        raise gdb.GdbError("no layout of saved registers for " + name)
    return LAYOUTS[name]


def container_of(item, type_name, *members):
    """The object of type_name in which the list item is members[0].members[1]..."""
    target = gdb.lookup_type(type_name)
    offset = 0
    inner = target
    for member in members:
        field = inner[member]
        offset += field.bitpos // 8
        inner = field.type
    return (item.cast(gdb.lookup_type("char").pointer()) - offset).cast(target.pointer())


def list_items(head):
    item = head["next"]
    while item != head.address:
        yield item
        item = item["next"]


def loops():
    head = gdb.lookup_global_symbol("loop_list")
    if head is None:
        raise gdb.GdbError("no loop_list: is this cairn, with debug symbols?")
    for item in list_items(head.value()):
        yield container_of(item, "struct loop", "all_link")


def live_coroutines():
    for loop in loops():
        for item in list_items(loop["coroutines"]["all"]):
            co = container_of(item, "struct coroutine", "pool_link")
            if str(co["state"]) in STATES:
                yield co


def read_word(address):
    kind = gdb.lookup_type("unsigned long").pointer()
    return int(gdb.Value(address).cast(kind).dereference())


def saved_registers(co):
    """The registers with which @co will go on, by name."""
    where = layout()
    context = co["context"]
    fields = [field.name for field in context.type.fields()]
    if "sp" in fields:
        sp = int(context["sp"])
        found = {name: read_word(sp + offset) for name, offset in where["saved"].items()}
        found[where["sp"]] = sp + where["size"]
        return found
    if where["gregs"] is None:
        raise gdb.GdbError("the ucontext switch is not known on this machine")
    gregs = context["u"]["uc_mcontext"]["gregs"]
    return {name: int(gregs[index]) for name, index in where["gregs"].items()}


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class CoroutineUnwinder(gdb.unwinder.Unwinder):
    """While active, makes a coroutine's registers those of the innermost frame's caller."""

    def __init__(self):
        super().__init__("cairn-coroutine")
        self.registers = None
        self.innermost = None

    def __call__(self, pending_frame):
        if self.registers is None:
            return None
        where = layout()
        sp = pending_frame.read_register(where["sp"])
        pc = pending_frame.read_register(where["pc"])
        if (int(sp), int(pc)) != self.innermost:
            return None
        # gdb takes a caller that lies below its callee for a corrupt stack: claim to be lower.
        below = gdb.Value(self.registers[where["sp"]] - 4096).cast(sp.type)
        info = pending_frame.create_unwind_info(FrameId(below, pc))
        for name, value in self.registers.items():
            kind = pending_frame.read_register(name).type
            info.add_saved_register(name, gdb.Value(value).cast(kind))
        return info

    def frames(self, co):
        """The frames of suspended @co, innermost first, each as a line of text."""
        where = layout()
        gdb.execute("frame 0", to_string=True)
        newest = gdb.newest_frame()
        self.innermost = (int(newest.read_register(where["sp"])),
                          int(newest.read_register(where["pc"])))
        self.registers = saved_registers(co)
        gdb.invalidate_cached_frames()
        try:
            frame = gdb.newest_frame().older()
            while frame is not None and frame.name() not in OUTERMOST:
                yield describe(frame)
                frame = frame.older()
        finally:
            self.registers = None
            gdb.invalidate_cached_frames()


def describe(frame):
    name = frame.name() or "??"
    place = frame.find_sal()
    if place.symtab is None:
        return "0x%x in %s" % (frame.pc(), name)
    return "%s (%s:%d)" % (name, place.symtab.filename, place.line)


UNWINDER = CoroutineUnwinder()
gdb.unwinder.register_unwinder(None, UNWINDER, replace=True)


def entry_name(co):
    block = gdb.block_for_pc(int(co["entry"]))
    if block is None or block.function is None:
        return hex(int(co["entry"]))
    return block.function.name


def headline(co):
    return "coroutine 0x%x %s, %s(0x%x), loop 0x%x" % (
        int(co), STATES[str(co["state"])], entry_name(co), int(co["arg"]), int(co["loop"]))


def frames_of(co):
    state = str(co["state"])
    if state == "CO_RUNNING":
        return ["on its thread's stack: see the backtrace of that thread"]
    return list(UNWINDER.frames(co))


class CairnCommand(gdb.Command):
    """Look into cairn."""

    def __init__(self):
        super().__init__("cairn", gdb.COMMAND_STACK, prefix=True)


class CoroutinesCommand(gdb.Command):
    """List the live coroutines of all loops and where each waits."""

    def __init__(self):
        super().__init__("cairn coroutines", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        count = 0
        for co in list(live_coroutines()):
            frames = frames_of(co)
            print("%s\n    %s" % (headline(co), frames[0] if frames else "not started yet"))
            count += 1
        print("%d live coroutines" % count)


class BacktraceCommand(gdb.Command):
    """Print the stack of the coroutine at ADDRESS, or of all live ones: cairn backtrace all"""

    def __init__(self):
        super().__init__("cairn backtrace", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        chosen = list(live_coroutines())
        if not argument:
            raise gdb.GdbError("which coroutine? An address, or: all")
        if argument != "all":
            address = int(gdb.parse_and_eval(argument))
            chosen = [co for co in chosen if int(co) == address]
            if not chosen:
                raise gdb.GdbError("no live coroutine at 0x%x" % address)
        for co in chosen:
            print(headline(co))
            frames = frames_of(co) or ["not started yet"]
            for number, frame in enumerate(frames):
                print("    #%-2d %s" % (number, frame))


CairnCommand()
CoroutinesCommand()
BacktraceCommand()
