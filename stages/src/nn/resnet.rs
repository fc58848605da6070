//! ResNet for small images (He et al. 2016), with the names of torchvision's `ResNet`.

use super::builder::Builder;
use super::layer::Layer;
use super::parts::{Activation, ConvLayerSpec, Padding, PoolSpec, ResnetSpec, Shortcut};
use crate::failure::Failure;

/// All but the classifier, named as torchvision's `ResNet` names it.
pub(super) fn build(resnet: &ResnetSpec, b: &mut Builder) -> Result<(), Failure> {
    let conv3 = |channels: usize, stride: usize| ConvLayerSpec {
        channels,
        kernel: 3,
        stride,
        padding: Padding::Same,
        bias: false,
    };
    let relu = Activation::Relu;
    let stem = resnet.widths.first().copied().unwrap_or_default();
    b.conv(&conv3(stem, 1))
        .map_err(|e| e.within("model: the first convolution"))?;
    b.batch_norm();
    b.layers.push(Layer::Activation(relu));
    for (stage, (&width, &blocks)) in resnet.widths.iter().zip(&resnet.blocks).enumerate() {
        for block in 0..blocks {
            let (name, before) = (format!("layer{}.{block}", stage + 1), b.image);
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let shortcut = if stride == 1 && before.channels == width {
                Shortcut::Identity
            } else {
                Shortcut::Projection
            };
            b.residual(&name, shortcut, Some(relu), |b| {
                b.conv(&conv3(width, stride))?;
                b.batch_norm();
                b.layers.push(Layer::Activation(relu));
                b.conv(&conv3(width, 1))?;
                b.batch_norm();
                Ok(())
            })
            .map_err(|e| e.within(&format!("model: {name} (its input is {before})")))?;
        }
    }
    b.pool(PoolSpec::GlobalAverage)
        .map_err(|e| e.within("model: pooling"))
}
