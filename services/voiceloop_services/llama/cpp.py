"""The llama.cpp engine: greedy replies from one model that all calls share."""

from __future__ import annotations

import codecs
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from voiceloop_services.llama import prompt
from voiceloop_services.runtime import MissingError, model_facts

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Generator, Iterator, Sequence

    from voiceloop_services.llama.prompt import Exchange, Message
    from voiceloop_services.models import Located

CONTEXT_TOKENS = 2048
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""For models that bring no chat template of their own."""
_OTHER: Message = {"role": "user", "content": "?"}
INSTALL = "pip install 'pytest-voiceloop[stack]' (compiles for some minutes)"


class LlamaCpp:
    """A loaded model, warmed up. One reply at a time.

    Its key-value cache holds the last call's chat; a new prompt is evaluated from where it differs. The system prompt
    and the examples come first and never change, so they stay warm even where calls take turns.
    """

    brief = True

    def __init__(self, options: argparse.Namespace, model: Located) -> None:
        # Its threads meet several hundred times a token. Asleep between the meetings they take three times as long;
        # spinning for long they would rob the voice, which begins while the second clause is still being written.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        try:
            import llama_cpp
            from llama_cpp.llama_chat_format import Jinja2ChatFormatter
        except (ImportError, OSError, RuntimeError) as error:
            raise MissingError(f"the llama-cpp-python package ({error})", INSTALL) from None
        offload = options.device != "cpu" and llama_cpp.llama_supports_gpu_offload()
        if options.device == "cuda" and not offload:
            raise MissingError(
                "a llama-cpp-python that was built for CUDA (--device cuda)",
                "CMAKE_ARGS=-DGGML_CUDA=on pip install --force-reinstall --no-cache-dir llama-cpp-python, "
                "or --device cpu",
            )
        self._located = model
        self._version = f"llama-cpp-python {llama_cpp.__version__}"
        self._device = "cuda" if offload else "cpu"
        self._set_threads = llama_cpp.llama_set_n_threads
        self._seed = options.seed
        self._max_tokens = options.max_tokens
        self._threads = options.threads or min(os.cpu_count() or 1, 4)
        self._llama = llama_cpp.Llama(
            str(model.path),
            n_ctx=CONTEXT_TOKENS,
            n_threads=self._threads,
            n_threads_batch=self._threads,
            n_gpu_layers=-1 if offload else 0,
            seed=options.seed,
            verbose=False,
        )
        self._ends = {self._llama.token_eos(), *self._tokens("<|im_end|>")[:1]}
        self._format = Jinja2ChatFormatter(
            template=self._llama.metadata.get("tokenizer.chat_template", CHATML),
            eos_token=self._piece(self._llama.token_eos()),
            bos_token=self._piece(self._llama.token_bos()),
        )
        self._lock = threading.Lock()
        # OpenMP keeps a pool of threads for every thread that asks for work. With two pools there are more threads
        # than cores, it stops spinning, and a token takes 34 ms instead of 10; so one thread asks for all calls.
        self._thread = ThreadPoolExecutor(1, "llama-cpp")
        for _ in range(2):
            for _piece in self.reply([], "Hello.", lambda: False, lambda: False):
                pass

    def facts(self) -> dict[str, object]:
        """See runtime.Engine."""
        return model_facts(
            "llama-cpp",
            self._located,
            device=self._device,
            version=self._version,
            settings={"max_tokens": self._max_tokens, "threads": self._threads, "seed": self._seed},
        )

    def reply(
        self, history: Sequence[Exchange], said: str, stopped: Callable[[], bool], begun: Callable[[], bool]
    ) -> Generator[str, None, None]:
        """See engines.Writer. A new line ends the reply, and so does the token limit, in mid-sentence if need be."""
        with self._lock:
            pieces = self._write(history, said, stopped, begun)
            while (piece := self._thread.submit(next, pieces, None).result()) is not None:
                yield piece

    def _write(
        self, history: Sequence[Exchange], said: str, stopped: Callable[[], bool], begun: Callable[[], bool]
    ) -> Iterator[str]:
        beside_the_voice = max(1, min(self._threads, (os.cpu_count() or 1) - self._threads))
        decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        chat = prompt.fit(history, said, self._count, CONTEXT_TOKENS - self._max_tokens - 1)
        tokens = self._chat_tokens(chat)
        # What stays in the cache ends before what was said now, whatever was said last: which tokens are
        # evaluated in one batch decides the last bits, and with them now and then a greedy word.
        self._llama.n_tokens = min(self._llama.n_tokens, _common(tokens, self._chat_tokens([*chat[:-1], _OTHER])))
        self._set_threads(self._llama.ctx, self._threads, self._threads)
        for number, token in enumerate(self._llama.generate(tokens, temp=0.0, repeat_penalty=1.0)):
            if stopped() or token in self._ends or number >= self._max_tokens:
                return
            text = decoder.decode(self._llama.detokenize([token], special=False))
            line, newline, _ = text.partition("\n")
            yield prompt.speakable(line) if line else ""
            if newline and number:
                return
            if begun():
                self._set_threads(self._llama.ctx, beside_the_voice, self._threads)

    def _count(self, chat: list[Message]) -> int:
        return len(self._chat_tokens(chat))

    def _chat_tokens(self, chat: list[Message]) -> list[int]:
        return self._tokens(self._format(messages=chat).prompt)

    def _tokens(self, text: str) -> list[int]:
        found: list[int] = self._llama.tokenize(text.encode(), add_bos=False, special=True)
        return found

    def _piece(self, token: int) -> str:
        return str(self._llama.detokenize([token], special=True).decode(errors="ignore"))


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two prompts have in common at their start."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
