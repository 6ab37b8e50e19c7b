"""What schemathesis is told beside the document (SCHEMATHESIS_HOOKS): bodies that the server can answer soon.

Where a generated body names some model, it gets the served one now and then, or nothing would ever be answered but 404.
"""

import schemathesis


MOST = {True: 2**31 - 1, False: 128}  # of tokens; of answers


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict):
        if isinstance(body.get("model"), str) and len(body["model"]) % 4:
            body["model"] = "tiny"
        for name in ("max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of"):
            if isinstance(body.get(name), int) and 4 < body[name] <= MOST[name.startswith("max")]:
                body[name] = 4  # but what is out of range stays so
    return body
