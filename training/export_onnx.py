"""Export a trained model to ONNX; the same program as `hf-bert4rec export-onnx`.

python training/export_onnx.py outputs/ml-100k
"""

from hf_bert4rec.cli.main import console

if __name__ == "__main__":
    console("export-onnx")
