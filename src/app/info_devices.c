/* mora info --device: the devices that runs may compute on. */

#include "app/info.h"
#include "backend/backend.h"
#include "report/description.h"

#include <stdio.h>

mr_status mr_info_devices(json_t **out)
{
    mr_device_facts facts;
    int count = 1;
    json_t *description = json_object(), *rows = json_array();
    mr_status status = MR_OK;
    *out = NULL;
    for (int i = 0; i < count && status == MR_OK; i++) {
        status = mr_backend_device(i, &facts, &count);
        if (status != MR_OK) break;
        char capability[32];
        snprintf(capability, sizeof capability, "%d.%d", facts.major, facts.minor);
        json_array_append_new(rows, json_pack("{s:i, s:s, s:s, s:i, s:f, s:f, s:i, s:s}", "device",
                                              i, "name", facts.name, "capability", capability,
                                              "multiprocessors", facts.multiprocessors, "gib",
                                              (double)facts.bytes / 0x1p30, "gib_free",
                                              (double)facts.free_bytes / 0x1p30, "reaches",
                                              facts.reaches, "uuid", facts.uuid));
    }
    if (status != MR_OK) {
        json_decref(rows);
        json_decref(description);
        return status;
    }
    mr_description_put(description, "kind", json_string("devices of this node"));
    mr_description_put(description, "libraries", json_string(facts.libraries));
    mr_description_put(description, "devices", rows);
    *out = description;
    return MR_OK;
}
