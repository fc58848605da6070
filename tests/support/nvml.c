/* A stand-in for NVIDIA's NVML, as far as energy is read: a GPU is known if the folder that
   NVML_STAND_IN names has a file of its UUID, and the file holds its millijoules. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_FOUND = 6, GPU_IS_LOST = 15 };

static char names[64][128];

int nvmlInit_v2(void) {
    FILE *file;
    char path[512];
    snprintf(path, sizeof path, "%s/opened", getenv("NVML_STAND_IN"));
    file = fopen(path, "a");
    if (file) {
        fputs("opened\n", file);
        fclose(file);
    }
    return SUCCESS;
}

int nvmlShutdown(void) { return SUCCESS; }

static FILE *counter(const char *uuid) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", getenv("NVML_STAND_IN"), uuid);
    return fopen(path, "r");
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    FILE *file = counter(uuid);
    if (!file) return NOT_FOUND;
    fclose(file);
    for (int i = 0; i < 64; i++) {
        if (!names[i][0]) snprintf(names[i], sizeof names[i], "%s", uuid);
        if (strcmp(names[i], uuid) == 0) {
            *device = names[i];
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}

#ifndef WITHOUT_ENERGY
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *energy) {
    FILE *file = counter(device);
    int read = file ? fscanf(file, "%llu", energy) : 0;
    if (file) fclose(file);
    return read == 1 ? SUCCESS : GPU_IS_LOST;
}
#endif
