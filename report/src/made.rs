//! What stages made to be looked at: pictures and pages. Decides what is shown of a study's outputs,
//! and how a page is kept from doing anything.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::svg::escaped;

/// Bytes of the largest one that is shown.
pub const BYTES_MAX: u64 = 100_000;

/// What can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `.png`
    Png,
    /// `.svg`
    Svg,
    /// `.jpg`, `.jpeg`
    Jpeg,
    /// `.html`, `.htm`
    Html,
}

impl Media {
    /// Of a file with this name.
    pub fn of(file_name: &str) -> Option<Media> {
        Some(match file_name.rsplit_once('.')?.1 {
            "png" => Media::Png,
            "svg" => Media::Svg,
            "jpg" | "jpeg" => Media::Jpeg,
            "html" | "htm" => Media::Html,
            _ => return None,
        })
    }

    fn mime(self) -> &'static str {
        match self {
            Media::Png => "image/png",
            Media::Svg => "image/svg+xml",
            Media::Jpeg => "image/jpeg",
            Media::Html => "text/html",
        }
    }

    /// How its file ends.
    pub fn ending(self) -> &'static str {
        match self {
            Media::Png => "png",
            Media::Svg => "svg",
            Media::Jpeg => "jpg",
            Media::Html => "html",
        }
    }
}

/// A file of a stage that is shown.
#[derive(Debug, Clone)]
pub struct Made {
    /// Whose output it is: `stage.output`.
    pub name: String,
    /// What it is.
    pub media: Media,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Made {
    /// As an element of the page. A page is shown as it is written, in a frame in which no script
    /// runs, no form is sent, and which the policy of the page around it keeps from loading anything.
    pub fn element(&self) -> String {
        let name = escaped(&self.name);
        let shown = match self.media {
            Media::Html => format!(
                "<iframe sandbox title=\"The page {name}, made by the study\" srcdoc=\"{}\"></iframe>",
                escaped(&String::from_utf8_lossy(&self.bytes))
            ),
            Media::Png | Media::Svg | Media::Jpeg => format!(
                "<img alt=\"The picture {name}, made by the study\" src=\"data:{};base64,{}\">",
                self.media.mime(),
                BASE64.encode(&self.bytes)
            ),
        };
        format!("<figure class=\"made\"><figcaption><h3>{name}</h3></figcaption>{shown}</figure>\n")
    }

    /// In its place where there is no room.
    pub fn left_out(&self) -> String {
        format!(
            "<p>{} was left out to keep the page small; it lies in artifacts/.</p>\n",
            escaped(&self.name)
        )
    }
}
