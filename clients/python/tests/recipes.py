"""Reads the pages of docs/recipes, and plays their calls against real services.

A page is played from top to bottom. Of its Markdown three things count:

- a block `sh`: its grpcurl calls are made, in order;
- a block `json` behind them: what the last call answered has to hold everything that is shown; `{}` shows that it is
  empty. `…` stands for any text, and as last element of a list for any more of them. `<run>` in a text gets its value where it is first shown, and stands
  for it from there on, in calls too;
- a block `text` behind them: the code and reason of the refusal, as in `NOT_FOUND SCHEDULE_NOT_FOUND`;
- a comment `<!-- play … -->`, which readers do not see: one command a line, of `Player`, or a grpcurl call.
"""

import dataclasses
import json
import pathlib
import re
import shlex

import grpc
from docket.library.v1 import document_service_pb2, mailbox_service_pb2  # noqa: F401: fill the pool
from docket.schedule.v1 import run_service_pb2, schedule_service_pb2  # noqa: F401
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2, status_pb2

NAME = re.compile(r"<([a-z_]+)>")


@dataclasses.dataclass
class Call:
    body: str
    port: int
    method: str


@dataclasses.dataclass
class Command:
    words: list[str]


@dataclasses.dataclass
class Answer:
    shown: object


@dataclasses.dataclass
class Refusal:
    shown: str


def read(page: pathlib.Path) -> list:
    """The steps of a page, each with its line."""
    steps = []
    text = page.read_text()
    for block in re.finditer(r"^```(\w*)\n(.*?)^```$|^<!-- play\n(.*?)^-->$", text, re.MULTILINE | re.DOTALL):
        language, visible, hidden = block.groups()
        line = text.count("\n", 0, block.start()) + 1
        if language == "json":
            steps.append((line, Answer(json.loads(visible))))
        elif language == "text":
            steps.append((line, Refusal(visible.strip())))
        elif language == "sh" or hidden is not None:
            steps += [(line, command(words)) for words in commands(visible or hidden)]
        else:
            raise ValueError(f"{page.name}:{line}: a block is sh, json or text")
    return steps


def shown(page: pathlib.Path) -> str:
    """What readers see of it."""
    return re.sub(r"^<!-- play\n.*?^-->\n", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(script: str) -> list[list[str]]:
    """Words of each command. One begins in the first column, so that bodies may go over lines."""
    lines = re.sub(r"\\\n", " ", script)
    return [shlex.split(part) for part in re.split(r"\n(?=\S)", lines.strip())]


def command(words: list[str]):
    if words[0] != "grpcurl":
        return Command(words)
    if words[1:3] != ["-plaintext", "-d"] or len(words) != 6:
        raise ValueError(f"a call is `grpcurl -plaintext -d BODY HOST:PORT METHOD`: {words}")
    return Call(words[3], int(words[4].removeprefix("localhost:")), words[5])


class Player:
    """Plays steps on the services behind `channels`, by the port that pages name. Subclasses have the commands."""

    def __init__(self, channels: dict[int, grpc.Channel]):
        self.channels = channels
        self.names: dict[str, str] = {}
        self.last: object = None

    def play(self, step) -> None:
        match step:
            case Call():
                self.last = self.call(step)
            case Answer(shown):
                if isinstance(self.last, str):
                    raise AssertionError(f"refused: {self.last}")
                self.compare(shown, self.last, "")
            case Refusal(shown):
                refused = self.last if isinstance(self.last, str) else "an answer"
                if refused.split(":")[0] != shown:
                    raise AssertionError(f"{refused}, not {shown}")
            case Command(words):
                getattr(self, words[0])(*words[1:])

    def call(self, call: Call):
        """The answer as grpcurl prints it; of a stream the first message. A refusal is its code, reason and text."""
        service, _, name = call.method.partition("/")
        method = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
        request = message_factory.GetMessageClass(method.input_type)()
        json_format.Parse(self.filled(call.body), request)
        arity = ("stream" if method.client_streaming else "unary", "stream" if method.server_streaming else "unary")
        stub = getattr(self.channels[call.port], "_".join(arity))(
            f"/{call.method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        try:
            answer = stub(iter([request]) if method.client_streaming else request, timeout=60, wait_for_ready=True)
            return json_format.MessageToDict(next(answer) if method.server_streaming else answer)
        except grpc.RpcError as error:
            return f"{error.code().name} {reason(error)}: {error.details()}"

    def filled(self, text: str) -> str:
        return NAME.sub(lambda name: self.names[name[1]], text)

    def compare(self, shown, got, place: str) -> None:
        """Raises unless `got` holds everything that is shown."""
        if isinstance(shown, dict) and shown and isinstance(got, dict):
            for key, value in shown.items():
                self.compare(value, got.get(key), f"{place}.{key}")
        elif isinstance(shown, list) and isinstance(got, list):
            more = shown[-1:] == ["…"]
            elements = shown[:-1] if more else shown
            if len(got) < len(elements) or (len(got) > len(elements) and not more):
                raise AssertionError(f"{place} has {len(got)} elements: {json.dumps(got, indent=1)}")
            for n, value in enumerate(elements):
                self.compare(value, got[n], f"{place}[{n}]")
        elif not (self.matches(shown, got) if isinstance(shown, str) and isinstance(got, str) else shown == got):
            raise AssertionError(f"{place} is {json.dumps(got, indent=1, ensure_ascii=False)}, not {shown!r}")

    def matches(self, shown: str, got: str) -> bool:
        pattern, fresh = "", []
        for part in re.split(r"(…|<[a-z_]+>)", shown):
            name = NAME.fullmatch(part)
            if part == "…":
                pattern += ".*"
            elif name and name[1] not in self.names:
                pattern += f"(?P<{name[1]}>.+)"
                fresh.append(name[1])
            else:
                pattern += re.escape(self.filled(part))
        match = re.fullmatch(pattern, got, re.DOTALL)
        if match:
            self.names.update({name: match[name] for name in fresh})
        return match is not None


def reason(error: grpc.RpcError) -> str:
    """Of docs/errors.md: what a program decides by."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return ""
