#include "plan/hardware.h"

const char *plan_device_name(enum plan_device device) {
    static const char *const names[] = {
#define X(name, meaning) #name,
        PLAN_DEVICE_LIST(X)
#undef X
    };
    return names[device];
}
