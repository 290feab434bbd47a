use super::*;
use crate::pci::config::{Identity, PciConfig};
use crate::pci::msix::Place;

/// Behaves as strictly as the strictest host: an eventfd is on one interrupt only, and a route never
/// disappears under an attached eventfd.
#[derive(Default)]
struct Strict {
    attached: Mutex<BTreeMap<i32, u32>>,
    messages: Mutex<BTreeMap<u32, (u32, u32)>>,
}

impl IrqBackend for Strict {
    fn set_routes(&self, entries: &[kvm_irq_routing_entry]) -> Result<(), kvm_ioctls::Error> {
        let fixed = entries.iter().filter(|e| e.type_ == KVM_IRQ_ROUTING_IRQCHIP).count();
        assert_eq!(fixed, 24 + 16, "the fixed routes are always there");
        let message = |e: &kvm_irq_routing_entry| {
            // SAFETY: the entry's type says that the union holds a message.
            (e.gsi, unsafe { (e.u.msi.address_lo, e.u.msi.data) })
        };
        let new: BTreeMap<_, _> =
            entries.iter().filter(|e| e.type_ == KVM_IRQ_ROUTING_MSI).map(message).collect();
        for gsi in lock(&self.attached).values().filter(|g| **g >= FIRST_MSI) {
            assert!(new.contains_key(gsi), "route {gsi} removed before its eventfd");
        }
        *lock(&self.messages) = new;
        Ok(())
    }
    fn attach(&self, event: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error> {
        let old = lock(&self.attached).insert(event.as_raw_fd(), gsi);
        assert_eq!(old, None, "one eventfd, one interrupt");
        Ok(())
    }
    fn attach_level(&self, event: &EventFd, _: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error> {
        self.attach(event, gsi)
    }
    fn detach(&self, event: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error> {
        assert_eq!(lock(&self.attached).remove(&event.as_raw_fd()), Some(gsi));
        Ok(())
    }
}

fn router() -> (Arc<Strict>, Arc<IrqRouter>) {
    let strict = Arc::new(Strict::default());
    let router = IrqRouter::new(strict.clone()).unwrap();
    (strict, router)
}

#[test]
fn an_event_while_masked_is_pending_until_unmasked() {
    let (strict, router) = router();
    let mut vector = router.vector().unwrap();
    vector.signal();
    assert!(vector.pending());
    assert!(lock(&strict.attached).is_empty());
    vector.unmask(0xFEE0_0000, 0x30).unwrap();
    assert_eq!(lock(&strict.messages).get(&24), Some(&(0xFEE0_0000, 0x30)));
    assert_eq!(lock(&strict.attached).len(), 1);
    vector.unmask(0xFEE0_1000, 0x31).unwrap();
    assert_eq!(lock(&strict.messages).get(&24), Some(&(0xFEE0_1000, 0x31)));
    vector.mask();
    assert!(lock(&strict.attached).is_empty());
    assert!(vector.pending(), "masking does not eat the event");
}

#[test]
fn a_dropped_vector_leaves_nothing_and_its_number_is_used_again() {
    let (strict, router) = router();
    let mut first = router.vector().unwrap();
    first.unmask(0xFEE0_0000, 1).unwrap();
    drop(first);
    assert!(lock(&strict.messages).is_empty());
    assert_eq!(router.vector().unwrap().gsi, FIRST_MSI);
}

#[test]
fn rebinding_keeps_the_vector_open() {
    let (strict, router) = router();
    let mut vector = router.vector().unwrap();
    vector.unmask(0xFEE0_0000, 1).unwrap();
    let new = EventFd::new(EFD_NONBLOCK).unwrap();
    let fd = new.as_raw_fd();
    vector.rebind(new).unwrap();
    assert_eq!(lock(&strict.attached).keys().copied().collect::<Vec<_>>(), [fd]);
}

#[test]
fn numbers_run_out_with_an_error() {
    let (_, router) = router();
    let shared = EventFd::new(EFD_NONBLOCK).unwrap();
    let held: Vec<_> =
        (0..MAX_MSI).map(|_| router.vector_with(shared.try_clone().unwrap())).take(100).collect();
    assert!(held.iter().all(Result::is_ok));
    for gsi in FIRST_MSI..FIRST_MSI + MAX_MSI {
        lock(&router.routes).messages.insert(gsi, None);
    }
    assert!(matches!(router.vector(), Err(IrqError::Exhausted)));
}

#[test]
fn a_function_wires_its_table_to_kvm() {
    let (strict, router) = router();
    let mut config = PciConfig::new(&Identity::default());
    let place = Place { table_bar: 1, table_offset: 0, pba_bar: 1, pba_offset: 0x800 };
    let mut msix = MsixVectors::new(&router, 2, place, &mut config).unwrap();
    assert!(msix.bar_write(1, 0x10, &0xFEE0_2000_u64.to_le_bytes()));
    assert!(msix.bar_write(1, 0x18, &0x55_u64.to_le_bytes()));
    assert!(lock(&strict.attached).is_empty());
    msix.vector(1).unwrap().signal();
    let mut bits = [0; 8];
    assert!(msix.bar_read(1, 0x800, &mut bits));
    assert_eq!(bits[0], 0b10);
    config.write(0x42, &[0, 0x80]);
    msix.config_written(&config);
    assert_eq!(lock(&strict.messages).values().copied().collect::<Vec<_>>(), [(0xFEE0_2000, 0x55)]);
    assert_eq!(lock(&strict.attached).len(), 1);
    assert!(!msix.bar_write(1, 0x20, &[0; 4]), "between table and pending bits");
    assert!(!msix.bar_write(0, 0x10, &[0; 4]), "another BAR");
    drop(msix);
    assert!(lock(&strict.attached).is_empty());
}
