"""Lints and renders the Helm chart with Helm's own code, and checks what comes out against the schemas of Kubernetes.

Reads a JSON object of sets of values by name. Prints a JSON object with, for each of them, `messages` of the linter, `objects`, and
`error` instead if Helm refuses the values.
"""

import json
import sys
import warnings

import helm_python as helm
import kubernetes_validate
import yaml

CHART = "deploy/helm/yamabiko"
# The oldest that Chart.yaml admits.
VERSION = "1.30"
# Defined by an operator, not by Kubernetes.
FOREIGN = {"ServiceMonitor"}


def render(values):
    report = helm.lint(CHART, values, strict=True, kube_version=f"v{VERSION}.0")
    messages = [message["error"] for message in report["messages"] if message["severity"] >= 2] + report["errors"]
    try:
        files = helm.Chart.load(CHART).render(values, name="live", namespace="web")
    except helm.HelmError as error:
        return {"messages": messages, "error": str(error)}
    objects = []
    for path, text in files.items():
        if not path.endswith(".yaml"):
            continue
        for document in yaml.safe_load_all(text):
            if document is None:
                continue
            if document["kind"] not in FOREIGN:
                try:
                    kubernetes_validate.validate(document, VERSION, strict=True)
                except kubernetes_validate.ValidationError as error:
                    messages.append(f"{path}: {error}")
            objects.append(document)
    return {"messages": messages, "objects": objects}


warnings.simplefilter("ignore")
json.dump({name: render(values) for name, values in json.load(sys.stdin).items()}, sys.stdout)
