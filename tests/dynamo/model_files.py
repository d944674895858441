"""Writes the directory of a small model: what a frontend and its workers need to know of one.

Run by a Python that has Dynamo's wheels (`tokenizers` comes with them):
`python model_files.py DIRECTORY WORDS`.

Dynamo's simulated workers answer with token ids drawn from 1000 to 1999. Of these, *WORDS* decode to a
word each and the others to nothing: with 1000 every token is text, with 0 none is.
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

FIRST_DRAWN = 1000
END = "<|end|>"
CONTEXT_TOKENS = 32768
SENTENCES = (
    "Requests come in one by one and every answer goes out word by word",
    "The first word takes as long as the prompt and each next word as long as a step",
)
TEMPLATE = "{% for message in messages %}{{ message['role'] }} {{ message['content'] }}{% endfor %}"


def main(directory: Path, words: int) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=FIRST_DRAWN, special_tokens=[END], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    document = json.loads(tokenizer.to_str())
    vocabulary = document["model"]["vocab"]
    # Entries that no merge leads to: a prompt never contains them, an answer may.
    vocabulary.update({f"Ġword{i}": i for i in range(len(vocabulary), FIRST_DRAWN + words)})

    files = {
        "tokenizer.json": document,
        "tokenizer_config.json": {
            "bos_token": END,
            "eos_token": END,
            "model_max_length": CONTEXT_TOKENS,
            "chat_template": TEMPLATE,
        },
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": len(vocabulary),
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": CONTEXT_TOKENS,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "torch_dtype": "bfloat16",
        },
        "generation_config.json": {"eos_token_id": 0},
    }
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
