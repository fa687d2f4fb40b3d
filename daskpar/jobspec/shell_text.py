"""Reads a shell command from left to right, and knows at each point how a variable becomes one word there.

That depends on what is open: quotes, `$(...)`, backquotes, `${...}`, here-documents, comments, and quotes or
here-documents that are themselves a program for another shell (`bash -c '...'`, `eval`, `ssh`, `bash <<EOF`).
"""

from __future__ import annotations

import re
from dataclasses import field

from daskpar.value_classes import mutable

_SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "ash"}
_TAKE_PROGRAM = {"eval", "trap", "watch", "ssh"}
"""Commands whose arguments are shell text."""
_WITH_C = {*_SHELLS, "su", "flock", "script", "runuser"}
"""Commands that take shell text after an option that ends in `c`."""
_OPTION_C = re.compile(r"-[A-Za-z]*c")
_DELIMITER = re.compile(r"(-?)[ \t]*((?:\\.|'[^'\n]*'|\"[^\"\n]*\"|[^\s;&|<>()'\"\\])+)")


class NoWord(Exception):
    """A value can't be put here as one word; the message says where `here` is."""


@mutable
class _HereDocument:
    end: str
    indented: bool
    """`<<-`: tabs before the end are left out."""
    expands: bool
    """Whether variables in it are replaced: its end was not quoted."""
    program: ShellText | None


@mutable
class _Open:
    """Something that is open."""

    kind: str
    """`'`, `"`, `$'`, `(`, `((`, `` ` ``, `{`, `#` (comment), `<<` (here-document)."""
    quoted: bool = False
    """Of `{`: whether it stands in double quotes."""
    cases: int = 0
    """Of `(`: `case` without its `esac`, whose patterns end in a `)` of their own."""
    program: ShellText | None = None
    """Of quotes: what they hold, where that is shell text too."""
    document: _HereDocument | None = None
    words: list[str] = field(default_factory=list)
    """Of what holds commands: the finished words of the present one."""
    word: str = ""
    """The word that is being read, as it is written."""


class ShellText:
    """A shell text as far as it was read."""

    def __init__(self) -> None:
        self._stack: list[_Open] = [_Open("")]
        self._waiting: list[_HereDocument] = []
        self._line = ""
        """The present line of a here-document."""
        self._unread = ""

    @property
    def plain(self) -> bool:
        """Whether nothing is open here, at the top of the command."""
        self._catch_up()
        return len(self._stack) == 1 and not self._is_program(self._top)

    @property
    def quote(self) -> str:
        """The quote that is open where nothing else is, and that holds no program; else empty."""
        self._catch_up()
        top = self._top
        simple = len(self._stack) == 2 and top.kind in ("'", '"') and top.program is None
        return top.kind if simple else ""

    @property
    def _top(self) -> _Open:
        return self._stack[-1]

    def variable(self, name: str) -> str:
        """What to write here so that the value of the variable `name` is put here, as one word.

        A variable that is not set ends the command. Raises NoWord where none is replaced.
        """
        self._catch_up()
        value, top = f"${{{name}?}}", self._top
        if top.program is not None:
            inside = top.program.variable(name)
            return _in_single(inside) if top.kind == "'" else _escaped(inside, '\\"$`')
        if top.kind in ("'", "$'"):
            return f'\'"{value}"{top.kind}'
        if top.kind == "<<":
            return self._in_document(top, name, value)
        if top.kind in ('"', "#", "((") or (top.kind == "{" and top.quoted):
            return value
        if self._is_program(top):
            return "'" + _in_single(f'"{value}"') + "'"
        return f'"{value}"'

    def _in_document(self, top: _Open, name: str, value: str) -> str:
        document = top.document
        assert document is not None
        inside = document.program.variable(name) if document.program is not None else None
        if document.expands:
            return value if inside is None else _escaped(inside, "\\$`")
        if inside is None:
            raise NoWord(f"a here-document whose end is quoted (<<'{document.end}')")
        return inside

    def read(self, text: str) -> None:
        """Go on behind `text`."""
        self._unread += text

    def _catch_up(self) -> None:
        """Look at what was read: together, for what begins here may have several signs."""
        text, self._unread = self._unread, ""
        position = 0
        while position < len(text):
            position += self._step(text, position)

    def put(self, written: str) -> None:
        """Go on behind a variable or a quoted value: part of a word, whatever signs it is written with."""
        self._catch_up()
        document = self._top.document
        program = self._top.program if document is None else document.program
        if program is not None:
            program.put(written)
        if self._top.kind in ("", "(", "`"):
            self._top.word += written
        self._line += written

    def _step(self, text: str, at: int) -> int:
        """Read what begins at `at`; how many characters that are."""
        top, sign = self._top, text[at]
        if top.kind == "#":
            if sign != "\n":
                return 1
            self._stack.pop()
            return self._step(text, at)
        if top.kind == "<<":
            return self._in_body(text, at)
        if top.kind == "'":
            return self._in_single_quotes(sign)
        if top.kind == "$'":
            if sign == "'":
                self._stack.pop()
            return 2 if sign == "\\" else 1
        if top.kind == '"':
            return self._in_double_quotes(text, at)
        return self._unquoted(text, at)

    def _in_single_quotes(self, sign: str) -> int:
        if sign == "'":
            self._stack.pop()
        elif self._top.program is not None:
            self._top.program.read(sign)
        return 1

    def _in_double_quotes(self, text: str, at: int) -> int:
        sign, program = text[at], self._top.program
        if sign == "\\":
            following = text[at + 1 : at + 2]
            if program is not None:
                program.read(following if following in ('"', "\\", "$", "`") else f"\\{following}")
            return 2
        if sign == '"':
            self._stack.pop()
            return 1
        if length := self._expansion(text, at, quoted=True):
            return length
        if program is not None:
            program.read(sign)
        return 1

    def _expansion(self, text: str, at: int, *, quoted: bool) -> int:
        """Open what begins with `$` or is a backquote; its length, 0 for anything else."""
        if text[at] == "`":
            if any(open_.kind == "`" for open_ in self._stack):
                while self._stack.pop().kind != "`":
                    pass
            else:
                self._stack.append(_Open("`"))
            return 1
        for begin, kind in (("$((", "(("), ("$(", "("), ("${", "{")):
            if text.startswith(begin, at):
                self._stack.append(_Open(kind, quoted=quoted))
                return len(begin)
        return 0

    def _unquoted(self, text: str, at: int) -> int:
        top, sign = self._top, text[at]
        holds_commands = top.kind in ("", "(", "`")
        if sign == "\\":
            top.word += text[at : at + 2]
            return 2
        begin = next((quote for quote in ("$'", '$"', "'", '"') if text.startswith(quote, at)), "")
        if begin and not (top.kind == "{" and top.quoted and begin != '"'):
            kind = "$'" if begin == "$'" else begin[-1]
            program = ShellText() if holds_commands and self._is_program(top) and kind != "$'" else None
            top.word += begin
            self._stack.append(_Open(kind, program=program))
            return len(begin)
        if length := self._expansion(text, at, quoted=top.kind == "{" and top.quoted):
            top.word += text[at : at + length]
            return length
        if top.kind == "{" and sign == "}":
            self._stack.pop()
        elif top.kind == "((" and text.startswith("))", at):
            self._stack.pop()
            return 2
        elif top.kind == "((" and sign in "()":
            return self._parenthesis(sign)
        elif holds_commands:
            return self._in_command(text, at)
        return 1

    def _in_command(self, text: str, at: int) -> int:
        top, sign = self._top, text[at]
        if sign == "#" and not top.word:
            self._stack.append(_Open("#"))
        elif text.startswith("<<<", at):
            self._end_word()
            return 3
        elif text.startswith("<<", at):
            return self._here_document(text, at)
        elif sign in "()":
            return self._parenthesis(sign)
        elif sign in " \t":
            self._end_word()
        elif sign in ";&|\n":
            self._end_word()
            top.words = []
            if sign == "\n":
                self._open_document()
        elif sign in "<>":
            self._end_word()
        else:
            top.word += sign
        return 1

    def _parenthesis(self, sign: str) -> int:
        top = self._top
        self._end_word()
        if sign == "(":
            self._stack.append(_Open("("))
        elif top.cases:
            top.words = []  # the end of a pattern
        elif len(self._stack) > 1:
            self._stack.pop()
        return 1

    def _end_word(self) -> None:
        top = self._top
        if not top.word:
            return
        first = all("=" in word or word in ("then", "do", "else", "in") for word in top.words)
        if top.word == "case" and first:
            top.cases += 1
        elif top.word == "esac" and top.cases:
            top.cases -= 1
        top.words.append(top.word)
        top.word = ""

    def _is_program(self, top: _Open) -> bool:
        """Whether the present word of a command is shell text for another reader."""
        names = [word.rpartition("/")[2] for word in top.words]
        if _TAKE_PROGRAM & set(names):
            return True
        return bool(names) and _OPTION_C.fullmatch(names[-1]) is not None and bool(_WITH_C & set(names))

    def _here_document(self, text: str, at: int) -> int:
        self._end_word()
        top = self._top
        found = _DELIMITER.match(text, at + 2)
        if found is None:
            return 2
        written = found[2]
        end = re.sub(r"\\(.)|['\"]", r"\1", written)
        names = {word.rpartition("/")[2] for word in top.words}
        program = ShellText() if (_SHELLS | {"ssh"}) & names else None
        self._waiting.append(
            _HereDocument(end=end, indented=bool(found[1]), expands=end == written, program=program)
        )
        return found.end() - at

    def _open_document(self) -> None:
        if self._waiting:
            self._stack.append(_Open("<<", document=self._waiting.pop(0)))
            self._line = ""

    def _in_body(self, text: str, at: int) -> int:
        document, sign = self._top.document, text[at]
        assert document is not None
        if sign == "\n":
            line, self._line = self._line, ""
            if (line.lstrip("\t") if document.indented else line) == document.end:
                self._stack.pop()
                self._open_document()
            elif document.program is not None:
                document.program.read("\n")
            return 1
        length = 2 if document.expands and sign == "\\" and text[at + 1 : at + 2] != "\n" else 1
        if document.expands and length == 1 and (opened := self._expansion(text, at, quoted=True)):
            self._line += text[at : at + opened]
            return opened
        read = text[at : at + length]
        self._line += read
        if document.program is not None:
            document.program.read(read[1:] if length == 2 and read[1:] in ("\\", "$", "`") else read)
        return length


def _in_single(text: str) -> str:
    return text.replace("'", "'\\''")


def _escaped(text: str, signs: str) -> str:
    return "".join(f"\\{sign}" if sign in signs else sign for sign in text)
