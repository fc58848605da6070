//! The GPUs of a machine, by the names that their maker's variables take.
//!
//! What drivers list in files, limited by the variables that are set. No driver is asked, so what is
//! said here costs nothing and is the same in every process.

use std::sync::Arc;

use super::Source;

/// A maker of GPUs: it decides by which variables programs are told what they see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Maker {
    /// Also where that cannot be told.
    #[default]
    Nvidia,
    /// HIP takes CUDA's variable as a second limit, and counts from the first on.
    Amd,
}

const CUDA: &str = "CUDA_VISIBLE_DEVICES";
const ROCR: &str = "ROCR_VISIBLE_DEVICES";

impl Maker {
    /// The variables by which programs are told.
    pub fn variables(self) -> &'static [&'static str] {
        match self {
            Maker::Nvidia => &[CUDA, ROCR],
            Maker::Amd => &[ROCR],
        }
    }
}

impl Source<'_> {
    /// Those the driver lists, limited by the variables that are set. A name that the driver does
    /// not list stays as it is written: it may know more than can be read here.
    pub(super) fn gpus(&self) -> (Maker, Vec<Arc<str>>) {
        let (nvidia, amd) = (self.nvidia_gpus(), self.amd_gpus());
        let (maker, mut gpus, limits) = match (nvidia.is_empty(), amd.is_empty()) {
            (true, false) => (
                Maker::Amd,
                amd,
                // HIP's numbers count what ROCm's variable leaves, and CUDA's is a second name of
                // its.
                vec![
                    self.first_set(&[ROCR]),
                    self.first_set(&["HIP_VISIBLE_DEVICES", CUDA]),
                ],
            ),
            (false, _) => (Maker::Nvidia, nvidia, vec![self.first_set(&[CUDA])]),
            (true, true) => {
                let any = [CUDA, ROCR, "HIP_VISIBLE_DEVICES"];
                (Maker::Nvidia, nvidia, vec![self.first_set(&any)])
            }
        };
        for limit in limits.into_iter().flatten() {
            // As CUDA reads it: the first name that cannot be one ends the list.
            let written = limit.split(',').map(str::trim);
            let written =
                written.take_while(|n| !n.is_empty() && !n.starts_with('-') && *n != "NoDevFiles");
            // Named twice, it is one, or two stages would be given it as their own.
            let mut seen: Vec<Arc<str>> = Vec::new();
            for gpu in written.map(|name| listed(&gpus, name)) {
                if !seen.contains(&gpu) {
                    seen.push(gpu);
                }
            }
            gpus = seen;
        }
        (maker, gpus)
    }

    fn first_set(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| (self.env)(name))
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(dir)).into_iter().flatten();
        let names = entries.flatten();
        let mut names: Vec<String> = names
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// By UUID in the order of the bus; by number where the UUIDs cannot be told, or where nothing
    /// says that CUDA counts them in this order.
    fn nvidia_gpus(&self) -> Vec<Arc<str>> {
        let devices: Vec<u32> = self.names("dev").iter().filter_map(|n| minor(n)).collect();
        let listing = "proc/driver/nvidia/gpus";
        let mut gpus = Vec::new();
        for bus_id in self.names(listing) {
            let text = self.text(&format!("{listing}/{bus_id}/information"));
            gpus.push(Information::of(&text.unwrap_or_default()));
        }
        // In a container the driver tells of all GPUs, and only the devices of its own are there.
        let is_here = |gpu: &Information| match gpu.minor {
            Some(minor) => devices.is_empty() || devices.contains(&minor),
            None => true,
        };
        gpus.retain(|gpu| is_here(gpu) && !gpu.is_excluded);
        let is_alike = gpus.windows(2).all(|two| two[0].model == two[1].model);
        let by_bus = (self.env)("CUDA_DEVICE_ORDER").is_some_and(|order| order == "PCI_BUS_ID");
        let uuids: Option<Vec<Arc<str>>> = gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
        match uuids {
            Some(uuids) if !uuids.is_empty() && (is_alike || by_bus) => uuids,
            _ if devices.is_empty() => numbers(gpus.len()),
            _ => numbers(devices.len()),
        }
    }

    /// In the order of the nodes, as ROCm counts them: by what it calls a UUID, or by number.
    fn amd_gpus(&self) -> Vec<Arc<str>> {
        let nodes = "sys/class/kfd/kfd/topology/nodes";
        let mut gpus: Vec<(u32, Option<Arc<str>>)> = Vec::new();
        for node in self.names(nodes) {
            let id = self.text(&format!("{nodes}/{node}/gpu_id"));
            let number = node
                .parse()
                .ok()
                .filter(|_| id.is_some_and(|id| id.trim() != "0"));
            let Some(number) = number else { continue };
            let properties = self.text(&format!("{nodes}/{node}/properties"));
            let id = properties.as_deref().and_then(|text| {
                let line = text.lines().find_map(|l| l.strip_prefix("unique_id "));
                line?.trim().parse::<u64>().ok().filter(|id| *id != 0)
            });
            gpus.push((number, id.map(|id| format!("GPU-{id:016x}").into())));
        }
        gpus.sort();
        let count = gpus.len();
        let ids: Option<Vec<Arc<str>>> = gpus.into_iter().map(|(_, id)| id).collect();
        ids.unwrap_or_else(|| numbers(count))
    }
}

/// What the driver tells of one of NVIDIA's GPUs.
#[derive(Default)]
struct Information {
    model: String,
    uuid: Option<Arc<str>>,
    minor: Option<u32>,
    is_excluded: bool,
}

impl Information {
    fn of(text: &str) -> Information {
        let mut information = Information::default();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match name.trim() {
                "Model" => information.model = value.to_owned(),
                // Question marks until something has used it.
                "GPU UUID" if !value.contains('?') => information.uuid = Some(value.into()),
                "Device Minor" => information.minor = value.parse().ok(),
                "GPU Excluded" => information.is_excluded = value == "Yes",
                _ => {}
            }
        }
        information
    }
}

/// The number of a device of NVIDIA's.
fn minor(file: &str) -> Option<u32> {
    let number = file.strip_prefix("nvidia")?;
    let is_number = number.bytes().all(|b| b.is_ascii_digit());
    number.parse().ok().filter(|_| is_number)
}

fn numbers(count: usize) -> Vec<Arc<str>> {
    (0..count).map(|n| Arc::from(n.to_string())).collect()
}

/// A name as in the list: a number counts its entries, and a UUID may be cut.
fn listed(list: &[Arc<str>], name: &str) -> Arc<str> {
    let by_number = name.parse::<usize>().ok().and_then(|n| list.get(n));
    let mut beginning = list
        .iter()
        .filter(|gpu| name.starts_with("GPU-") && gpu.starts_with(name));
    let by_beginning = beginning.next().filter(|_| beginning.next().is_none());
    by_number
        .or(by_beginning)
        .cloned()
        .unwrap_or_else(|| name.into())
}

#[cfg(test)]
mod tests {
    use crate::machine::tests::seen;

    #[test]
    fn case_24_gpus_are_those_that_can_be_seen() {
        let gpus = |files: &[(&str, &str)], env: &[(&str, &str)]| -> Vec<String> {
            let machine = seen(files, env);
            machine.gpus.iter().map(|g| g.to_string()).collect()
        };
        let devices = [
            ("dev/nvidia0", ""),
            ("dev/nvidia1", ""),
            ("dev/nvidiactl", ""),
            ("proc/driver/nvidia/gpus/a/information", ""),
        ];
        assert_eq!(gpus(&devices, &[]), ["0", "1"]);
        assert_eq!(gpus(&devices[3..], &[]), ["0"]);
        let named = [("CUDA_VISIBLE_DEVICES", "GPU-b, 3,-1,4")];
        assert_eq!(gpus(&devices, &named), ["GPU-b", "3"]);
        assert!(gpus(&devices, &[("CUDA_VISIBLE_DEVICES", "")]).is_empty());
        assert!(gpus(&[], &[]).is_empty());
    }

    fn named(files: &[(&str, &str)], env: &[(&str, &str)]) -> Vec<String> {
        let machine = seen(files, env);
        machine.gpus.iter().map(|g| g.to_string()).collect()
    }

    #[test]
    fn gpus_of_nvidia_have_the_names_of_their_driver() {
        let information = |uuid: &str, minor: u32| {
            format!(
                "Model: \t\t NVIDIA H200\nIRQ:   \t\t 16\nGPU UUID: \t {uuid}\n\
                 Bus Location: \t 0000:18:00.0\nDevice Minor: \t {minor}\nGPU Excluded:\t No\n"
            )
        };
        let (first, second) = (information("GPU-11", 1), information("GPU-22", 0));
        let hidden = information("GPU-????????-????", 0);
        let other = second.replace("H200", "T4");
        let path = |bus: &str| format!("proc/driver/nvidia/gpus/{bus}/information");
        let (low, high) = (path("0000:18:00.0"), path("0000:3b:00.0"));
        let both = [(&*high, &*second), (&*low, &*first)];
        assert_eq!(named(&both, &[]), ["GPU-11", "GPU-22"]);
        let limit = |list| [("CUDA_VISIBLE_DEVICES", list)];
        // The same names however they are written, so that runs agree on who has which.
        assert_eq!(named(&both, &limit("1")), ["GPU-22"]);
        assert_eq!(named(&both, &limit("GPU-2,0")), ["GPU-22", "GPU-11"]);
        assert_eq!(named(&both, &limit("GPU,7")), ["GPU", "7"]);
        let twice = limit("0,0,GPU-1,1,0");
        assert_eq!(named(&both, &twice), ["GPU-11", "GPU-22"]);
        assert!(named(&both, &limit("")).is_empty());
        assert!(named(&both, &limit("-1")).is_empty());
        assert_eq!(named(&both, &[("ROCR_VISIBLE_DEVICES", "0")]).len(), 2);
        // In a container one of them is here.
        let container = [both[0], both[1], ("dev/nvidia0", "")];
        assert_eq!(named(&container, &[]), ["GPU-22"]);
        // By number, as CUDA counts: it does not know them by a UUID, or counts the fastest first.
        let unused = [(&*high, &*hidden), (&*low, &*first)];
        assert_eq!(named(&unused, &[]), ["0", "1"]);
        let unlike = [(&*high, &*other), (&*low, &*first)];
        assert_eq!(named(&unlike, &[]), ["0", "1"]);
        let by_bus = [("CUDA_DEVICE_ORDER", "PCI_BUS_ID")];
        assert_eq!(named(&unlike, &by_bus), ["GPU-11", "GPU-22"]);
        assert_eq!(seen(&both, &[]).maker.variables().len(), 2);
    }

    #[test]
    fn gpus_of_amd_are_the_nodes_that_compute() {
        let nodes = "sys/class/kfd/kfd/topology/nodes";
        let path = |rest: &str| format!("{nodes}/{rest}");
        let files = [
            (path("0/gpu_id"), "0\n"),
            (path("1/gpu_id"), "51110\n"),
            (path("1/properties"), "simd_count 440\nunique_id 255\n"),
            (path("10/gpu_id"), "51112\n"),
            (path("10/properties"), "unique_id 257\n"),
            (path("2/gpu_id"), "51111\n"),
            (path("2/properties"), "unique_id 256\n"),
        ];
        let files = files.each_ref().map(|(path, text)| (&**path, *text));
        let [a, b, c] = [
            "GPU-00000000000000ff",
            "GPU-0000000000000100",
            "GPU-0000000000000101",
        ];
        assert_eq!(named(&files, &[]), [a, b, c]);
        assert_eq!(
            seen(&files, &[]).maker.variables(),
            ["ROCR_VISIBLE_DEVICES"]
        );
        let (rocr, hip) = (
            ("ROCR_VISIBLE_DEVICES", "2,1"),
            ("HIP_VISIBLE_DEVICES", "1"),
        );
        assert_eq!(named(&files, &[rocr]), [c, b]);
        assert_eq!(named(&files, &[hip]), [b]);
        // HIP counts what is left.
        assert_eq!(named(&files, &[rocr, hip]), [b]);
        // One cannot be told by name.
        assert_eq!(named(&files[..6], &[]), ["0", "1", "2"]);
    }
}
