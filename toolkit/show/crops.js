// Crops: a whole number of screen pixels per pixel, a slider between two pictures, hold to swap.

const section = document.querySelector("#crops");
if (section) {
  const GAP_PX = 12;
  const buttons = [...section.querySelectorAll("[data-zoom]")];
  const crops = [...section.querySelectorAll(".crop")];
  const left = section.querySelector("[data-left]");
  let chosen = "fit";

  // in `fit`: the slider takes a good third of the width, the other pictures stand beside it, at
  // half its factor; every factor is whole, so that no pixel is smeared
  const fitting = (crop) => {
    const room = crop.clientWidth;
    const side = Number(crop.style.getPropertyValue("--w"));
    const narrow = room < 640;
    const large = Math.max(1, Math.floor((narrow ? room : room * 0.36) / side));
    const inRow = narrow ? 2 : 3;
    const rest = narrow ? room : room - large * side - 2 * GAP_PX;
    const small = Math.max(1, Math.floor((rest - GAP_PX * (inRow - 1)) / inRow / side));
    return [large, small];
  };
  const apply = () => {
    for (const crop of crops) {
      const [large, small] = chosen === "fit" ? fitting(crop) : [chosen, chosen];
      crop.style.setProperty("--zoom", small);
      crop.style.setProperty("--large", large);
    }
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.zoom === chosen));
    }
  };

  const imageOf = (crop, kind) => crop.querySelector(`.panel.${kind} img`);
  const captionOf = (crop, kind) => crop.querySelector(`.panel.${kind} p`).textContent;

  // the slider: the left picture below, the file's above it, cut off left of the line
  const withSlider = (crop) => {
    const box = document.createElement("div");
    box.className = "compare";
    box.innerHTML =
      '<div class="picture"><div class="stack"><img alt="" draggable="false">' +
      '<img class="over" alt="" draggable="false"><i class="line"></i></div></div>' +
      '<input type="range" min="0" max="100" step="1" value="50"><p></p>';
    const [under, over] = box.querySelectorAll("img");
    const stack = box.querySelector(".stack");
    const range = box.querySelector("input");
    over.src = imageOf(crop, "file").src;
    const move = () => {
      over.style.clipPath = `inset(0 0 0 ${range.value}%)`;
      box.querySelector(".line").style.left = `${range.value}%`;
    };
    const choose = () => {
      const kind = imageOf(crop, left.value) ? left.value : "float";
      under.src = imageOf(crop, kind).src;
      const words = `left: ${captionOf(crop, kind)}, right: ${captionOf(crop, "file")}`;
      box.querySelector("p").textContent = words;
      range.setAttribute("aria-label", `${crop.dataset.image}, ${words}`);
    };
    const drag = (event) => {
      if (event.type === "pointermove" && event.buttons === 0) return;
      const edges = stack.getBoundingClientRect();
      range.value = (100 * (event.clientX - edges.left)) / edges.width;
      move();
    };
    for (const kind of ["pointerdown", "pointermove"]) stack.addEventListener(kind, drag);
    range.addEventListener("input", move);
    left.addEventListener("change", choose);
    choose();
    move();
    crop.querySelector(".panels").before(box);
  };

  // pictures of one crop that are larger than their boxes scroll together
  const together = (crop) => {
    const boxes = [...crop.querySelectorAll(".picture")];
    const part = (at, whole, seen) => (whole > seen ? at / (whole - seen) : 0);
    let leader = null;
    const follow = (box) => {
      if (leader !== null && leader !== box) return;
      leader = box;
      const across = part(box.scrollLeft, box.scrollWidth, box.clientWidth);
      const down = part(box.scrollTop, box.scrollHeight, box.clientHeight);
      for (const other of boxes) {
        if (other === box) continue;
        other.scrollLeft = across * (other.scrollWidth - other.clientWidth);
        other.scrollTop = down * (other.scrollHeight - other.clientHeight);
      }
      requestAnimationFrame(() => requestAnimationFrame(() => { leader = null; }));
    };
    for (const box of boxes) box.addEventListener("scroll", () => follow(box), { passive: true });
  };

  const withSwap = (crop) => {
    const panel = crop.querySelector(".panel.file");
    const picture = panel.querySelector(".picture");
    const image = picture.querySelector("img");
    const caption = panel.querySelector("p");
    const own = [image.src, caption.textContent];
    const rival = [imageOf(crop, "float").src, captionOf(crop, "float")];
    const show = ([address, words]) => {
      image.src = address;
      caption.textContent = words;
      panel.classList.toggle("swapped", address === rival[0]);
    };
    picture.addEventListener("pointerdown", () => show(rival));
    for (const end of ["pointerup", "pointerleave", "pointercancel", "blur", "keyup"]) {
      picture.addEventListener(end, () => show(own));
    }
    picture.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        show(rival);
      }
    });
    picture.addEventListener("contextmenu", (event) => event.preventDefault());
  };

  for (const crop of crops) {
    withSlider(crop);
    withSwap(crop);
    together(crop);
  }
  for (const button of buttons) {
    button.addEventListener("click", () => {
      chosen = button.dataset.zoom;
      apply();
    });
  }
  window.addEventListener("resize", apply);
  for (const folded of section.querySelectorAll("details")) {
    folded.addEventListener("toggle", apply); // what is folded away has no width to fit into
  }
  section.querySelector(".zoom").hidden = false;
  apply();
}
