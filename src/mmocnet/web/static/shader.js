/**
 * How a slice is drawn: the scan's own 16-bit values from its own grid, windowed for each pixel.
 * Window and level so cost nothing, and no display copy loses grey levels.
 */
export const SLICE_SHADER = `#version 300 es
precision highp int;
precision highp float;
uniform highp isampler3D values;
uniform mat4 toVoxel;
uniform ivec3 size;
uniform ivec3 stepU;
uniform ivec3 stepV;
uniform vec2 window;
uniform int linear;
in vec3 texPos;
out vec4 color;

float at(ivec3 voxel) {
  return float(texelFetch(values, voxel, 0).r);
}

void main(void) {
  vec3 place = (toVoxel * vec4(texPos, 1.0)).xyz;
  ivec3 last = size - 1;
  float value;
  if (linear == 1) {
    // Within the slice only: a reader sees slices as they were acquired.
    vec3 across = vec3(stepU + stepV);
    vec3 corner = mix(floor(place + 0.5), floor(place), across);
    vec3 part = (place - corner) * across;
    ivec3 low = clamp(ivec3(corner), ivec3(0), last);
    ivec3 high = min(ivec3(corner) + stepU + stepV, last);
    ivec3 nextU = low + (high - low) * stepU;
    ivec3 nextV = low + (high - low) * stepV;
    float u = dot(part, vec3(stepU));
    float v = dot(part, vec3(stepV));
    value = mix(mix(at(low), at(nextU), u), mix(at(nextV), at(high), u), v);
  } else {
    value = at(clamp(ivec3(floor(place + 0.5)), ivec3(0), last));
  }
  float grey = clamp((value - window.x) / max(window.y - window.x, 1e-6), 0.0, 1.0);
  color = vec4(vec3(grey), 1.0);
}`;
