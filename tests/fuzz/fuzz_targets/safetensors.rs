#![no_main]

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::bounded(&MEMORY, bytes, hostile::safetensors));
