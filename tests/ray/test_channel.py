"""The wire between driver and workers, without Ray."""

from __future__ import annotations

import threading
from contextlib import suppress
from multiprocessing import AuthenticationError
from pathlib import Path

import pytest

from tune_plugins.driver.ray.switchboard import Switchboard
from tune_plugins.worker.channel import RelayedWire, connect


def _frames(board: Switchboard, count: int) -> list[tuple[str, bytes | None]]:
    found: list[tuple[str, bytes | None]] = []
    while len(found) < count:
        found += board.receive(10)
    return found


def test_frames_arrive_in_order_and_the_end_is_told() -> None:
    board = Switchboard()
    wire = connect(board.address, board.key, "w")
    assert _frames(board, 1) == [("w", b"")]
    for number in range(200):
        wire.send_bytes(b"%d" % number)
    assert _frames(board, 200) == [("w", b"%d" % number) for number in range(200)]
    assert board.send("w", b"answer")
    assert wire.recv_bytes() == b"answer"
    wire.close()
    assert _frames(board, 1) == [("w", None)]
    assert not board.send("w", b"too late")
    board.close()


def test_one_who_sends_without_pause_does_not_hold_up_the_others() -> None:
    board = Switchboard()
    busy, other = connect(board.address, board.key, "busy"), connect(board.address, board.key, "other")
    _frames(board, 2)
    for _ in range(100):
        busy.send_bytes(b"x")
    other.send_bytes(b"y")
    turn = board.receive(10)
    assert ("other", b"y") in turn
    assert len(turn) < 100
    board.close()


def test_strangers_without_the_key_are_sent_away() -> None:
    board = Switchboard()
    with pytest.raises((AuthenticationError, EOFError, OSError)):
        connect(board.address, b"guessed", "w")
    connect(board.address, board.key, "w")
    assert _frames(board, 1) == [("w", b"")]
    board.close()


def test_the_socket_is_private_and_gone_after_close() -> None:
    board = Switchboard()
    folder = Path(board.address).parent
    assert folder.stat().st_mode & 0o077 == 0
    board.close()
    board.close()
    board.wake()
    assert not folder.exists()
    with pytest.raises(OSError, match="No such file"):
        connect(board.address, board.key, "w")


def test_closing_never_waits_for_an_answer_though_newcomers_come_meanwhile() -> None:
    for _ in range(50):
        board = Switchboard()
        address, key = board.address, board.key

        def call(address: str = address, key: bytes = key) -> None:
            with suppress(OSError, EOFError):  # where the driver was faster
                connect(address, key, "late").recv_bytes()

        callers = [threading.Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        board.close()
        for caller in callers:
            caller.join(timeout=300)
            assert not caller.is_alive()


def test_wake_makes_receive_return() -> None:
    board = Switchboard()
    board.wake()
    assert board.receive(60) == []
    board.close()


def test_a_relay_that_is_gone_looks_like_a_driver_that_is_gone() -> None:
    class Method:
        def remote(self, *arguments: object) -> None: ...

    class Relay:
        connect = send = receive = close = Method()

    answers = iter([None, RuntimeError("actor died"), None, RuntimeError("actor died"), RuntimeError("actor died")])

    def get(reference: object) -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    wire = RelayedWire(Relay(), "w", get)
    with pytest.raises(OSError, match="the relay beside the driver does not answer: actor died"):
        wire.send_bytes(b"x")
    with pytest.raises(EOFError):
        wire.recv_bytes()
    with pytest.raises(OSError, match="does not answer"):
        wire.recv_bytes()
    wire.close()
