/* Models from files: what Hugging Face keeps beside weights, and GGUF headers. */
#ifndef CABINET_PLAN_MODEL_FILES_H
#define CABINET_PLAN_MODEL_FILES_H

#include "plan/model.h"

/* A config.json of a known family (plan_config_families). NOT_FOUND, CORRUPT; a missing field is named;
 * UNSUPPORTED for a family that no reader knows, or an attention that the planner has no formula for. */
int plan_model_from_config(struct plan_model *model, const char *path);
/* "llama, mistral, ...": for messages. */
const char *plan_config_families(void);

/* The header of a GGUF file: metadata for the shape, tensors for parameters and bytes. Runs for architectures
 * that Cabinet cannot run too, as long as they attend as llama does. */
int plan_model_from_gguf(struct plan_model *model, const char *path);

#endif
