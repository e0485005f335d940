"use strict";
// Without this the page says the same; it only moves a cursor and lets one play from where one clicks.
let silence = () => {};
for (const call of document.querySelectorAll(".call")) {
  const sounds = [...call.querySelectorAll("audio[data-at]")].map((element) => ({
    element, at: Number(element.dataset.at), ms: Number(element.dataset.ms), side: element.dataset.side, begun: false,
  }));
  if (!sounds.length) continue;
  const start = Number(call.dataset.start), end = Number(call.dataset.end);
  const slider = call.querySelector("input[type=range]");
  const buttons = [call, document.querySelector(".look")].flatMap((place) =>
    place ? [...place.querySelectorAll(`button[data-turn="${call.dataset.turn}"]`)] : []);
  let at = start, until = end, playing = [], before = 0, frame = 0, pressed = null;

  const mark = (button, plays) => {
    button.setAttribute("aria-pressed", plays);
    button.firstChild.data = button.firstChild.data.replace(plays ? "▶" : "⏸", plays ? "⏸" : "▶");
  };
  const show = () => {
    call.classList.add("moved");
    call.style.setProperty("--cursor", `${100 * (at - start) / (end - start)}%`);
    slider.value = at;
    slider.setAttribute("aria-valuetext", `${Math.round(at)} ms after T0`);
  };
  const stop = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    playing = [];
    for (const sound of sounds) sound.element.pause();
    for (const button of buttons) mark(button, false);
  };
  // The cursor follows what is heard; between caller and reply nothing is, and the clock moves it.
  const move = (now) => {
    const heard = playing.find((sound) => sound.begun && !sound.element.paused && !sound.element.ended);
    at = heard && heard.element.currentTime ? heard.at + 1000 * heard.element.currentTime : at + now - before;
    before = now;
    for (const sound of playing) {
      if (!sound.begun && at >= sound.at && at < sound.at + sound.ms) {
        sound.begun = true;
        sound.element.currentTime = Math.max(0, at - sound.at) / 1000;
        sound.element.play().catch(() => call.classList.add("mute"));
      }
    }
    show();
    if (at < until) frame = requestAnimationFrame(move);
    else stop();
  };
  const play = (those, from, button) => {
    silence();
    silence = stop;
    playing = those;
    for (const sound of those) sound.begun = false;
    at = from;
    until = Math.min(end, Math.max(...those.map((sound) => sound.at + sound.ms)));
    pressed = button;
    if (button) mark(button, true);
    before = performance.now();
    frame = requestAnimationFrame(move);
  };
  const of = (side) => sounds.filter((sound) => side === "all" || sound.side === side);
  for (const button of buttons) {
    const those = of(button.dataset.play);
    button.disabled = !those.length;
    button.hidden = false;
    button.addEventListener("click", () => {
      if (button.getAttribute("aria-pressed") === "true") stop();
      else play(those, Math.min(...those.map((sound) => sound.at)), button);
    });
  }
  slider.addEventListener("input", () => {
    const those = playing, button = pressed;
    stop();
    at = Number(slider.value);
    show();
    if (those.length) play(those, at, button);
  });
  slider.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (frame) stop();
      else play(sounds, at >= end ? start : at, buttons[0]);
    }
  });
  call.addEventListener("click", (event) => {
    const lane = event.target.closest("[data-side] .lane");
    if (!lane) return;
    const box = lane.querySelector(".inner").getBoundingClientRect();
    const side = lane.closest("[data-side]").dataset.side;
    const button = buttons.find((one) => one.dataset.play === side);
    stop();
    play(of(side), start + (event.clientX - box.left) / box.width * (end - start), button);
  });
  call.classList.add("playable");
  call.querySelector(".player").hidden = false;
  for (const sound of sounds) sound.element.parentElement.hidden = true;
}
const unfold = () => {
  const named = location.hash && document.getElementById(location.hash.slice(1));
  const folded = named && named.closest("details");
  if (!folded) return;
  folded.open = true;
  folded.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
addEventListener("beforeprint", () => silence());
