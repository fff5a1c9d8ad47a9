"""Static check of the files that are copied to the Hub: only listed imports, names and attributes are allowed.

Allow-lists are used wherever they are short: a module has more entry points than a deny-list would cover.
"""

import ast
import sys
from collections.abc import Iterator

# Attributes that may be used of imported modules; the module object itself may not be passed on.
MODULES = {
    "copy": "deepcopy",
    "difflib": "get_close_matches",
    "gc": "disable enable isenabled",
    "json": "JSONDecodeError dumps loads",
    "math": "floor inf isfinite log nan",
    "onnxruntime": "InferenceSession SessionOptions get_available_providers",
    "re": "compile findall",
    "reprlib": "repr",
    "sys": "_getframe maxunicode version_info",
    "torch": "Tensor __version__ _int_mm addcmul allclose arange as_tensor backends bool cat dtype empty eye finfo "
    "float16 float32 float64 from_numpy frombuffer full full_like get_autocast_dtype get_num_threads inf "
    "inference_mode int32 int8 is_autocast_enabled isin long maximum minimum nn no_grad ones ones_like rand "
    "set_num_threads stack tensor where zeros zeros_like",
    "transformers": "__file__ __version__",
    "unicodedata": "combining normalize",
    "warnings": "warn",
    "nn": "Dropout Embedding Identity LayerNorm Linear Module ModuleList Parameter functional",
}
FROM = {
    "__future__": "annotations",
    "array": "array",
    "bisect": "bisect_left bisect_right",
    "collections": "Counter defaultdict",
    "collections.abc": "Callable Container Iterable Iterator Mapping Sequence",
    "contextlib": "contextmanager",
    "dataclasses": "dataclass replace",
    "datetime": "date datetime",
    "functools": "cached_property",
    "hashlib": "sha256",
    "huggingface_hub.errors": "StrictDataclassError",
    "itertools": "islice repeat",
    "numbers": "Integral Real",
    "os": "register_at_fork",
    "pathlib": "Path",
    "safetensors": "SafetensorError",
    "tokenizers": "Tokenizer",
    "tokenizers.models": "WordLevel",
    "tokenizers.pre_tokenizers": "WhitespaceSplit",
    "torch": "nn",
    "torch.compiler": "is_compiling",
    "torch.jit": "is_tracing",
    "transformers": "AutoModelForMaskedLM Pipeline PreTrainedConfig TokenizersBackend pipeline",
    "transformers.activations": "ACT2FN",
    "transformers.initialization": "copy_ zeros_",
    "transformers.masking_utils": "create_bidirectional_mask create_causal_mask",
    "transformers.modeling_layers": "GradientCheckpointingLayer",
    "transformers.modeling_outputs": "BaseModelOutput MaskedLMOutput",
    "transformers.modeling_utils": "ALL_ATTENTION_FUNCTIONS PreTrainedModel",
    "transformers.pipelines": "PIPELINE_REGISTRY",
    "transformers.utils": "cached_file",
    "transformers.utils.generic": "can_return_tuple check_model_inputs",
    "transformers.utils.output_capturing": "capture_outputs",
    "threading": "RLock",
    "traceback": "walk_tb",
    "typing": "TYPE_CHECKING Any NamedTuple",
}
# Names that read, write or fetch files, by the files that may use them to load or save.
FILE_ACCESS = {
    # JSON files of a model's folder, the index of its weights, and the weights
    "loading_bert4rec.py": {"read_text", "is_file", "cached_file", "from_pretrained"},
    "modeling_bert4rec.py": {"save_pretrained"},
    "pipeline_bert4rec.py": {"save_pretrained"},
    "handler.py": {"pipeline"},  # the folder that an endpoint serves
    "tokenization_bert4rec.py": {"write_text", "from_pretrained"},  # items.json, where transformers saves
    "onnx_bert4rec.py": {"cached_file", "InferenceSession", "onnxruntime"},  # onnx/model.onnx of the model's own folder
}
READS_AND_WRITES = (
    "open read write read_bytes write_bytes unlink rename rmdir mkdir rmtree touch chmod lchmod symlink_to hardlink_to "
    "readlink iterdir glob rglob walk exists is_dir is_symlink stat lstat owner home cwd expanduser absolute "
    "load save load_file save_file fromfile tofile memmap dump savez loadtxt savetxt hf_hub_download snapshot_download "
    "save_pretrained push_to_hub urlopen urlretrieve download load_library system popen environ getenv remove listdir "
    "register_custom_ops_library load_adapter from_file train_from_files"
)
TOUCHES_FILES = set().union(*FILE_ACCESS.values(), READS_AND_WRITES.split())
# Statements that are allowed in one file although they use names that are not.
EXEMPT = {
    "configuration_bert4rec.py": {"self.__setattr__(name, value)", "super().__setattr__(name, value)"},
    "loading_bert4rec.py": {"setattr(sys.modules[package], name, sys.modules[module_name])"},
}
# Names of Python itself that run text, reach modules, or hide a name from this check.
RUNS_AND_HIDES = (
    "eval exec compile __import__ __builtins__ __loader__ __spec__ globals locals vars dir open input breakpoint "
    "setattr delattr import_module attrgetter methodcaller f_globals f_locals f_builtins gi_frame modules"
)
FORBIDDEN = set(RUNS_AND_HIDES.split())
DUNDERS = {"__init__", "__annotations__", "__name__", "__file__", "__traceback__"}


def offences(source: str, name: str = "") -> list[str]:
    """Everything in the source of a Hub file that is not allowed, with its line; `name` is the file's name."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    exempt = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and ast.unparse(node) in EXEMPT.get(name, set())
        for part in ast.walk(node)
    }
    nodes = [node for node in ast.walk(tree) if node not in exempt]
    offending = [(node, description) for node in nodes for description in _offences_of(node, parents.get(node), name)]
    return [f"{name}:{getattr(node, 'lineno', 0)}: {description}" for node, description in offending]


def _offences_of(node: ast.AST, parent: ast.AST | None, name: str) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from _imports(node, name)
    elif isinstance(node, ast.Name):
        yield from _names(node, parent, name)
    elif isinstance(node, ast.Attribute):
        yield from _attributes(node, parent, name)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        yield from _getattr(node)


def _imports(node: ast.Import | ast.ImportFrom, name: str) -> Iterator[str]:
    allowed = FILE_ACCESS.get(name, set())
    for alias in node.names:
        if alias.asname:
            yield f"{alias.name} under an alias"
        if isinstance(node, ast.Import):
            if alias.name not in MODULES or alias.name in {"nn"} | (TOUCHES_FILES - allowed):
                yield f"import {alias.name}"
        elif not node.level and alias.name not in FROM.get(node.module or "", "").split():
            yield f"from {node.module} import {alias.name}"
        elif alias.name in TOUCHES_FILES - allowed:
            yield f"{alias.name}, which touches files"


def _names(node: ast.Name, parent: ast.AST | None, name: str) -> Iterator[str]:
    if node.id in FORBIDDEN or (node.id.startswith("__") and node.id not in DUNDERS):
        yield node.id
    if node.id in TOUCHES_FILES - FILE_ACCESS.get(name, set()):
        yield f"{node.id}, which touches files"
    if node.id == "getattr" and not (isinstance(parent, ast.Call) and parent.func is node):
        yield "getattr passed on"
    if node.id in MODULES and not isinstance(parent, ast.Attribute):
        yield f"the module {node.id} passed on"


def _attributes(node: ast.Attribute, parent: ast.AST | None, name: str) -> Iterator[str]:
    module = node.value.id if isinstance(node.value, ast.Name) and node.value.id in MODULES else None
    if module is not None:
        if node.attr not in MODULES[module].split():
            yield f"{module}.{node.attr}"
        if node.attr not in TOUCHES_FILES:
            return
    bare_call = isinstance(parent, ast.Call) and parent.func is node and not parent.args and not parent.keywords
    of_self = isinstance(node.value, ast.Name) and node.value.id == "self"
    if node.attr in FORBIDDEN and not (node.attr == "eval" and bare_call):  # model.eval()
        yield f".{node.attr}"
    if node.attr.startswith("__") and node.attr not in DUNDERS and not (node.attr == "__dict__" and of_self):
        yield f".{node.attr}"
    if node.attr in sys.stdlib_module_names - {"chunk"}:  # a tensor's method
        yield f"the module .{node.attr}"
    if node.attr in TOUCHES_FILES - FILE_ACCESS.get(name, set()):
        yield f".{node.attr}, which touches files"
    if node.attr == "replace" and not (isinstance(parent, ast.Call) and len(parent.args) == 2):
        yield ".replace, of a file"  # str.replace takes two arguments, Path.replace one


def _getattr(node: ast.Call) -> Iterator[str]:
    """`getattr(self, name)` reads a field; of anything else the name must be a harmless literal."""
    target, attribute = node.args[0], node.args[1]
    if isinstance(target, ast.Name) and target.id == "self":
        return
    text = attribute.value if isinstance(attribute, ast.Constant) else None
    if not isinstance(text, str) or text.startswith("__") or text in FORBIDDEN | TOUCHES_FILES:
        yield f"getattr of {ast.unparse(attribute)}"
