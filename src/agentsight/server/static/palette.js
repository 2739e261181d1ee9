// Go anywhere by typing: pages, agents, saved views, periods; anything else is searched for. Loaded at its first use.
const words = text => text.toLowerCase().trim().split(/\s+/).filter(Boolean);
const links = () => [...document.querySelectorAll('.side a[href], .view a[href], .seg a[data-key], .tools a[href]')]
  .filter(link => link.textContent.trim() && !link.closest('.heat'))
  .map(link => [(link.title || link.textContent).trim().replace(/\s+/g, ' '), link.href]);
export function open() {
  const dialog = document.querySelector('#palette'), input = dialog.querySelector('input'), list = dialog.querySelector('ul');
  const search = document.querySelector('form.find'), every = links();
  let at = 0;
  const draw = () => {
    const asked = words(input.value);
    const found = every.filter(([name]) => asked.every(word => name.toLowerCase().includes(word))).slice(0, 9);
    if (asked.length && search) {
      const url = new URL(search.action);
      url.searchParams.set('search', input.value.trim());
      found.push([`${dialog.dataset.search} “${input.value.trim()}”`, url.href]);
    }
    at = Math.max(0, Math.min(at, found.length - 1));
    list.replaceChildren(...found.map(([name, href], place) => {
      const item = document.createElement('li');
      item.id = `p-${place}`;
      item.role = 'option';
      item.ariaSelected = place === at;
      item.textContent = name;
      item.onclick = () => { dialog.close(); location.assign(href); };
      return item;
    }));
    input.setAttribute('aria-activedescendant', found.length ? `p-${at}` : '');
  };
  input.oninput = () => { at = 0; draw(); };
  input.onkeydown = event => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) { event.preventDefault(); at = (at + by + list.children.length) % (list.children.length || 1); draw(); }
    if (event.key === 'Enter') { event.preventDefault(); list.children[at]?.click(); }
  };
  input.value = '';
  draw();
  dialog.showModal();
  input.focus();
}
