// The optimizers' steps (numerics/src/kernels/optim.rs). `velocity` and `mask` are read only where
// they are said to be there.

KERNEL sgd(GLOBAL float *w, GLOBAL float *velocity, int has_velocity, GLOBAL const float *gradient,
           GLOBAL const float *mask, int has_mask, int n, float lr, float momentum, int nesterov, float l2,
           float shrink)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    float d = l2 != 0.0f ? FMA(l2, w[i], gradient[i]) : gradient[i];
    float weight = shrink != 1.0f ? w[i] * shrink : w[i];
    float v = FMA(momentum, has_velocity ? velocity[i] : 0.0f, d);
    float step = nesterov ? FMA(momentum, v, d) : v;
    float moved = FMA(-lr, step, weight);
    int masked = has_mask && mask[i] == 0.0f;
    w[i] = masked ? 0.0f : moved;
    if (has_velocity)
        velocity[i] = masked ? 0.0f : v;
}

KERNEL adam(GLOBAL float *w, GLOBAL float *mean, GLOBAL float *square, GLOBAL const float *gradient,
            GLOBAL const float *mask, int has_mask, int n, float step, float root, float eps, float keep1,
            float keep2, float beta2, float l2, float shrink)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    float d = l2 != 0.0f ? FMA(l2, w[i], gradient[i]) : gradient[i];
    float weight = shrink != 1.0f ? w[i] * shrink : w[i];
    float m = FMA(keep1, d - mean[i], mean[i]);
    float s = FMA(keep2 * d, d, beta2 * square[i]);
    float moved = FMA(step, m / (SQRT(s) / root + eps), weight);
    int masked = has_mask && mask[i] == 0.0f;
    w[i] = masked ? 0.0f : moved;
    mean[i] = masked ? 0.0f : m;
    square[i] = masked ? 0.0f : s;
}
