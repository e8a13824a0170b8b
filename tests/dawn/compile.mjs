// Compiles WGSL files with Dawn, the WebGPU implementation of Chromium: what it takes, browsers take, and with it the HLSL,
// MSL and SPIR-V that it makes of them. Each is validated, and made a pipeline on the Vulkan driver at hand.
//
//     node tests/dawn/compile.mjs [--share I/N] DIR ...       (the I-th of N shares: Dawn compiles on one core)
//
// Left out, and counted: kernels that load through 64-bit integers (`u64`), which WGSL does not have. They run on software
// adapters alone, and each has a variant without. Validated alone, and counted: kernels for devices with larger workgroups than
// every WebGPU device has.
import { create, globals } from 'webgpu';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const dirs = process.argv.slice(2);
const [share, shares] = dirs[0] === '--share' ? dirs.splice(0, 2)[1].split('/').map(Number) : [1, 1];
if (dirs.length === 0) {
  console.error('usage: node compile.mjs DIR ...   (directories of .wgsl files, as `retrograd verify --dump-shaders` writes)');
  process.exit(2);
}

/** Text of each shader by name; what two devices compile alike is there once. */
const shaders = new Map();
for (const dir of dirs) {
  for (const file of readdirSync(dir).filter((file) => file.endsWith('.wgsl'))) {
    const text = readFileSync(join(dir, file), 'utf8');
    if (![...shaders.values()].includes(text)) shaders.set(shaders.has(file) ? join(dir, file) : file, text);
  }
}

Object.assign(globalThis, globals);
// Named, since Dawn's instance goes with the object, whoever still uses its devices.
const gpu = create(['backend=vulkan']);
const adapter = await gpu.requestAdapter();
if (!adapter) {
  console.error('error: Dawn finds no Vulkan driver');
  process.exit(1);
}
const subgroups = adapter.features.has('subgroups');
// Without a word on limits the device has WebGPU's defaults.
const device = await adapter.requestDevice({ requiredFeatures: subgroups ? ['subgroups'] : [] });

/** Invocations of a workgroup. */
function invocations(code) {
  const sizes = /@workgroup_size\(([^)]*)\)/.exec(code)?.[1].split(',') ?? [];
  return sizes.reduce((product, size) => product * Number(size), 1);
}

/** What Dawn says against a shader, or undefined. */
async function complaint(code) {
  // The specification wants the directive; naga 30 does not know it and refuses it.
  if (/\bsubgroup[A-Z]/.test(code)) code = `enable subgroups;\n${code}`;
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const error = messages.find((message) => message.type === 'error');
  if (error) return `line ${error.lineNum}: ${error.message}`;
  if (invocations(code) > device.limits.maxComputeInvocationsPerWorkgroup) {
    larger += 1;
    return undefined;
  }
  try {
    await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  } catch (reason) {
    return `as a pipeline: ${reason.message}`;
  }
}

// Errors are collected above; each would be reported here once more.
device.onuncapturederror = (event) => event.preventDefault();
let compiled = 0;
let left = 0;
let failed = 0;
let larger = 0;
for (const [at, [name, code]] of [...shaders].entries()) {
  if (at % shares !== share - 1) continue;
  if (/\bu64\b/.test(code) || (!subgroups && /\bsubgroup[A-Z]/.test(code))) {
    left += 1;
    continue;
  }
  const reason = await complaint(code);
  if (reason) {
    failed += 1;
    console.error(`FAILED ${name}: ${reason}`);
  } else {
    compiled += 1;
  }
}
const why = subgroups ? '64-bit integers' : '64-bit integers or subgroups';
console.log(`Dawn on ${adapter.info.description}: ${compiled} shaders compiled, ${failed} failed, ${left} left out (${why}), ` +
  `${larger} without a pipeline (workgroups beyond WebGPU's defaults)`);
// A listing that went wrong must not look like success.
process.exit(failed === 0 && compiled > 0 ? 0 : 1);
